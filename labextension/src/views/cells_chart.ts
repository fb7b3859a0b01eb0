import { cellAt, rangeOf } from '../model/cells';
import { count } from '../model/format';
import type { Grid } from '../model/wire';
import { t } from '../model/words';
import { Chart, type Colors } from './chart';

const MAX_LARGE_CELLS = 160;
const LARGE = 14;
const SMALL = 9;

/** A grid without mini-batches. */
export const EMPTY: Grid = { first: 0, count: 0, per_cell: 1, cells: '' };

/** A canvas with a cell for one mini-batch or several. */
export class CellsChart extends Chart {
  private grid = EMPTY;
  private columns = 1;
  private pitch = SMALL;

  constructor(
    private readonly openRange: (first: number, last: number) => void,
    private readonly leave: () => void,
  ) {
    super(t('Grid of mini-batches'), t('point at a cell, or use the arrow keys'));
  }

  draw(grid: Grid): void {
    const { cells, first, per_cell } = this.grid;
    if (grid.cells !== cells || grid.first !== first || grid.per_cell !== per_cell) {
      this.grid = grid;
      this.repaint();
    }
  }

  protected size(): number {
    return this.grid.cells.length;
  }

  protected height(): number {
    this.pitch = this.size() <= MAX_LARGE_CELLS ? LARGE : SMALL;
    this.columns = Math.max(1, Math.floor((this.width + 1) / this.pitch));
    return Math.max(1, Math.ceil(this.size() / this.columns)) * this.pitch;
  }

  protected paint(context: CanvasRenderingContext2D, colors: Colors): void {
    const side = this.pitch - 1;
    for (let index = 0; index < this.size(); index += 1) {
      const x = (index % this.columns) * this.pitch;
      const y = Math.floor(index / this.columns) * this.pitch;
      this.paintCell(context, colors, index, x, y, side);
    }
    if (this.selected >= 0 && this.selected < this.size()) {
      const x = (this.selected % this.columns) * this.pitch;
      const y = Math.floor(this.selected / this.columns) * this.pitch;
      context.strokeStyle = colors.text;
      context.lineWidth = 2;
      context.strokeRect(x, y, side, side);
    }
  }

  private paintCell(
    context: CanvasRenderingContext2D,
    colors: Colors,
    index: number,
    x: number,
    y: number,
    side: number,
  ): void {
    const cell = cellAt(this.grid, index);
    context.fillStyle = cell.running ? colors.running : colors.left;
    context.fillRect(x, y, side, side);
    const filled = Math.round((side * cell.eighths) / 8);
    context.fillStyle = cell.failed ? colors.failed : colors.done;
    if (cell.failed) {
      context.fillRect(x, y, side, side);
      cross(context, colors.page, x, y, side);
    } else {
      context.fillRect(x, y + side - filled, side, filled);
    }
    if (cell.retrying) {
      context.fillStyle = colors.retrying;
      context.fillRect(x, y, side, Math.ceil(side / 2.5));
    }
  }

  protected hit(x: number, y: number): number {
    const column = Math.floor(x / this.pitch);
    const index = Math.floor(y / this.pitch) * this.columns + column;
    return column < this.columns && index < this.size() ? index : -1;
  }

  protected describe(mark: number): string {
    const [first, last] = rangeOf(this.grid, mark);
    const cell = cellAt(this.grid, mark);
    if (first === last) {
      return t('mini-batch {0}: {1}', count(first), stateOf(cell));
    }
    const states = [
      cell.eighths === 8 ? t('all done') : t('{0}/8 done', cell.eighths),
      cell.failed ? t('some failed') : '',
      cell.retrying ? t('some to run again') : '',
      cell.running ? t('some running') : '',
    ];
    const range = t('mini-batches {0} to {1}', count(first), count(last));
    return `${range}: ${states.filter(Boolean).join(', ')}`;
  }

  protected open(mark: number): void {
    this.openRange(...rangeOf(this.grid, mark));
  }

  protected override back(): void {
    this.leave();
  }

  protected next(mark: number, key: string): number {
    const steps: Record<string, number> = {
      ArrowLeft: mark - 1,
      ArrowRight: mark + 1,
      ArrowUp: mark - this.columns,
      ArrowDown: mark + this.columns,
      PageUp: mark - 5 * this.columns,
      PageDown: mark + 5 * this.columns,
      Home: 0,
      End: this.size() - 1,
    };
    return steps[key] ?? mark;
  }
}

function stateOf(cell: ReturnType<typeof cellAt>): string {
  if (cell.running) {
    return t('running');
  }
  if (cell.failed || cell.retrying) {
    return cell.failed ? t('failed') : t('to run again');
  }
  return cell.eighths === 8 ? t('done') : t('left');
}

function cross(
  context: CanvasRenderingContext2D,
  color: string,
  x: number,
  y: number,
  side: number,
): void {
  context.strokeStyle = color;
  context.lineWidth = side > 10 ? 2 : 1.2;
  context.beginPath();
  context.moveTo(x + 2, y + 2);
  context.lineTo(x + side - 2, y + side - 2);
  context.moveTo(x + side - 2, y + 2);
  context.lineTo(x + 2, y + side - 2);
  context.stroke();
}
