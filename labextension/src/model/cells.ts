import type { Grid } from './wire';

const FIRST = 35;
const SKIPPED = 92;
const LEVELS = 9;

/** What one cell of a grid holds: eighths that are over, and whether some are of these kinds. */
export interface Cell {
  readonly eighths: number;
  readonly failed: boolean;
  readonly retrying: boolean;
  readonly running: boolean;
}

/** Reads one cell of a grid, as runs/grid.py writes it. */
export function cellAt(grid: Grid, index: number): Cell {
  const code = grid.cells.charCodeAt(index);
  const value = code - FIRST - (code > SKIPPED ? 1 : 0);
  const kinds = Math.floor(value / LEVELS);
  return {
    eighths: value % LEVELS,
    failed: (kinds & 1) > 0,
    retrying: (kinds & 2) > 0,
    running: (kinds & 4) > 0,
  };
}

/** The mini-batches of a cell: the first and the last of them. */
export function rangeOf(grid: Grid, index: number): readonly [number, number] {
  const first = grid.first + index * grid.per_cell;
  return [first, Math.min(first + grid.per_cell, grid.first + grid.count) - 1];
}
