import { count } from '../model/format';
import { errorMessage, type Host } from '../model/host';
import type { RunOutput } from '../model/wire';
import { t } from '../model/words';
import { CellsChart, EMPTY } from './cells_chart';
import { button, el, setHidden, setText } from './dom';
import type { Section } from './section';

const REFRESH_MS = 1000;

/** The mini-batches as a grid of cells; a cell with several mini-batches opens its own grid. */
export class GridView implements Section {
  readonly node: HTMLDetailsElement;
  private readonly title = el('summary');
  private readonly back = button('pr-link', '', () => this.leave());
  private readonly note = el('span', 'pr-more');
  private readonly bar = el('div', 'pr-logbar');
  private readonly chart: CellsChart;
  private all = EMPTY;
  private zoom: readonly [number, number] | null = null;
  private fetchedAt = 0;

  constructor(
    private readonly host: Host,
    showMiniBatch: (miniBatch: number) => void,
    detail: HTMLElement,
  ) {
    this.chart = new CellsChart(
      (first, last) => (first === last ? showMiniBatch(first) : this.enter(first, last)),
      () => this.leave(),
    );
    this.node = el('details', 'pr-section pr-grid', this.title);
    this.node.open = true;
    setText(this.back, t('← all mini-batches'));
    this.bar.append(this.back, this.note);
    this.node.append(this.bar, this.chart.node, detail);
    this.node.addEventListener('toggle', () => this.show());
    this.drawBar();
  }

  draw({ snapshot }: RunOutput): void {
    this.all = snapshot.grid;
    setHidden(this.node, snapshot.grid.count === 0);
    const perCell = this.all.per_cell;
    const size = perCell > 1 ? t(', {0} in each cell', count(perCell)) : '';
    setText(this.title, t('Mini-batches') + size);
    this.show();
  }

  fetchAgain(): void {
    if (this.zoom) {
      this.fetch(this.zoom);
    }
  }

  dispose(): void {
    this.chart.dispose();
  }

  private show(): void {
    if (!this.node.open) {
      return;
    }
    if (!this.zoom) {
      this.chart.draw(this.all);
    } else if (Date.now() - this.fetchedAt > REFRESH_MS) {
      this.fetch(this.zoom);
    }
  }

  private enter(first: number, last: number): void {
    this.zoom = [first, last];
    this.drawBar();
    this.fetch(this.zoom);
  }

  private leave(): void {
    this.zoom = null;
    this.drawBar();
    this.show();
  }

  private drawBar(): void {
    setHidden(this.bar, !this.zoom);
    const [first, last] = this.zoom ?? [0, 0];
    setText(this.note, this.zoom ? t('mini-batches {0} to {1}', count(first), count(last)) : '');
  }

  private fetch(zoom: readonly [number, number]): void {
    this.fetchedAt = Date.now();
    this.host
      .grid(zoom[0], zoom[1] - zoom[0] + 1)
      .then((grid) => {
        if (zoom === this.zoom) {
          this.drawBar();
          this.chart.draw(grid);
        }
      })
      .catch((error: unknown) => {
        if (zoom === this.zoom) {
          setText(this.note, errorMessage(error));
        }
      });
  }
}
