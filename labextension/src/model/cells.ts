import type { Grid } from './wire';

const FIRST = 35;
const SKIPPED = 92;
const LEVELS = 9;

/** One cell of a grid: the eighths that are finished, and which states occur in it. */
export interface Cell {
  readonly eighths: number;
  readonly failed: boolean;
  readonly retrying: boolean;
  readonly running: boolean;
}

/** Decodes one cell of a grid; the encoding is that of the Python module `grid`. */
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

/** Returns the first and the last mini-batch of a cell. */
export function rangeOf(grid: Grid, index: number): readonly [number, number] {
  const first = grid.first + index * grid.per_cell;
  return [first, Math.min(first + grid.per_cell, grid.first + grid.count) - 1];
}
