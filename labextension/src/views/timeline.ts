import { callProgressText, shareOfCall } from '../model/call_progress';
import { count, duration } from '../model/format';
import type { RunOutput, Snapshot } from '../model/wire';
import { noun, t } from '../model/words';
import { Chart, type Colors } from './chart';
import { el } from './dom';
import type { Section } from './section';

const LANE = 15;
const AXIS = 16;
const LABEL = 64;
const FAILED = 2;
const RETRYING = 3;

/** One bar: a finished mini-batch, several short ones, or the running one. Times in ms. */
interface Bar {
  readonly lane: number;
  readonly worker: string;
  readonly start: number;
  readonly end: number;
  readonly miniBatch: number;
  readonly count: number;
  readonly outcome: number;
  readonly isRunning: boolean;
  readonly progress: readonly number[];
}

/** The recent and the running mini-batches of each worker, in the last minute. */
export class Timeline implements Section {
  readonly node: HTMLDetailsElement;
  private readonly chart: Lanes;
  private last: readonly [Snapshot, number] | null = null;

  constructor(showMiniBatch: (miniBatch: number) => void) {
    this.chart = new Lanes(showMiniBatch);
    this.node = el('details', 'pr-section', el('summary', '', t('Timeline')), this.chart.node);
    this.node.addEventListener('toggle', () => this.show());
  }

  draw({ snapshot }: RunOutput, age: number): void {
    this.node.hidden = snapshot.lanes.length === 0;
    this.last = [snapshot, age];
    this.show();
  }

  dispose(): void {
    this.chart.dispose();
  }

  private show(): void {
    if (this.node.open && this.last) {
      this.chart.draw(...this.last);
    }
  }
}

class Lanes extends Chart {
  private bars: readonly Bar[] = [];
  private names: readonly string[] = [];
  private from = 0;
  private until = 1;
  private isLive = true;

  constructor(private readonly show: (miniBatch: number) => void) {
    super(t('Recent mini-batches of each worker'), t('point at a bar, or use the arrow keys'));
  }

  draw(snapshot: Snapshot, age: number): void {
    const isLive = !snapshot.is_final;
    this.isLive = isLive;
    this.until = 1000 * (snapshot.at_s + (isLive ? age : 0));
    this.from = Math.min(snapshot.lanes_from_ms + (isLive ? 1000 * age : 0), this.until - 100);
    this.names = snapshot.lanes.map((lane) => lane.worker);
    this.bars = barsOf(snapshot, this.until);
    this.repaint();
  }

  protected size(): number {
    return this.bars.length;
  }

  protected height(): number {
    return Math.max(1, this.names.length) * LANE + AXIS;
  }

  protected paint(context: CanvasRenderingContext2D, colors: Colors): void {
    context.font = '11px system-ui, sans-serif';
    context.textBaseline = 'middle';
    context.fillStyle = colors.quiet;
    this.names.forEach((name, lane) => {
      context.fillText(name, 0, lane * LANE + LANE / 2, LABEL - 6);
    });
    this.bars.forEach((bar, mark) => {
      this.paintBar(context, colors, bar, mark === this.selected);
    });
    this.paintAxis(context, colors);
  }

  private paintBar(
    context: CanvasRenderingContext2D,
    colors: Colors,
    bar: Bar,
    isChosen: boolean,
  ): void {
    const [x, width] = this.place(bar);
    const y = bar.lane * LANE + 2;
    const height = LANE - 4;
    context.fillStyle = colorOf(bar, colors);
    context.fillRect(x, y, width, height);
    if (bar.outcome === FAILED) {
      context.fillStyle = colors.page; // a notch, so that a failure is recognizable without its color
      context.fillRect(x, y + height / 2 - 1, width, 2);
    }
    const share = shareOfCall(bar.progress);
    if (share) {
      context.fillStyle = colors.done; // lower than a bar, so that it is no mini-batch that is done
      context.fillRect(x, y + height - 4, width * share, 4);
    }
    if (isChosen) {
      context.strokeStyle = colors.text;
      context.lineWidth = 2;
      context.strokeRect(x, y, Math.max(width, 2), height);
    }
  }

  private paintAxis(context: CanvasRenderingContext2D, colors: Colors): void {
    const y = this.height() - AXIS / 2;
    context.fillStyle = colors.quiet;
    context.fillText(`−${duration((this.until - this.from) / 1000)}`, LABEL, y);
    context.textAlign = 'right';
    context.fillText(this.isLive ? t('now') : t('end'), this.width, y);
    context.textAlign = 'left';
  }

  private place(bar: Bar): readonly [number, number] {
    const scale = (this.width - LABEL) / (this.until - this.from);
    const start = LABEL + Math.max(0, bar.start - this.from) * scale;
    const end = LABEL + Math.max(0, Math.min(bar.end, this.until) - this.from) * scale;
    return [start, Math.max(1, end - start - 0.5)];
  }

  protected hit(x: number, y: number): number {
    const lane = Math.floor(y / LANE);
    return this.bars.findIndex((bar) => {
      const [start, width] = this.place(bar);
      return bar.lane === lane && x >= start - 1 && x <= start + width + 1;
    });
  }

  protected describe(mark: number): string {
    const bar = this.bars[mark];
    if (!bar) {
      return '';
    }
    const several = `${count(bar.count)} ${noun('mini-batch', bar.count)}`;
    const subject = bar.count > 1 ? several : t('mini-batch {0}', count(bar.miniBatch));
    const time = duration((bar.end - bar.start) / 1000);
    const progress = bar.progress.length ? `, ${callProgressText(bar.progress)}` : '';
    return `${bar.worker}: ${subject}, ${stateOf(bar)}${progress}, ${time}`;
  }

  protected open(mark: number): void {
    const bar = this.bars[mark];
    if (bar) {
      this.show(bar.miniBatch);
    }
  }

  protected next(mark: number, key: string): number {
    const bar = this.bars[mark];
    if (key === 'Home' || key === 'End' || !bar) {
      return key === 'End' ? this.size() - 1 : 0;
    }
    if (key === 'ArrowLeft' || key === 'ArrowRight') {
      return mark + (key === 'ArrowLeft' ? -1 : 1);
    }
    const step = key === 'ArrowUp' || key === 'PageUp' ? -1 : 1;
    const nearest = this.bars
      .map((other, index) => ({
        index,
        distance: Math.abs(other.start - bar.start),
        lane: other.lane,
      }))
      .filter(({ lane }) => lane === bar.lane + step)
      .sort((left, right) => left.distance - right.distance)[0];
    return nearest?.index ?? mark;
  }
}

function barsOf(snapshot: Snapshot, until: number): Bar[] {
  const workers = new Map(snapshot.workers.map((row) => [row.worker, row]));
  return snapshot.lanes.flatMap(({ worker, bars }, lane) => {
    const finished = bars.map(([start = 0, length = 0, miniBatch = -1, size = 1, outcome = 1]) => {
      const span = { lane, worker, start, end: start + length };
      const kind = { outcome, isRunning: false, progress: [] };
      return { ...span, miniBatch, count: size, ...kind };
    });
    const row = workers.get(worker);
    if (row?.phase !== 'running') {
      return finished;
    }
    const start = 1000 * (snapshot.at_s - row.since_s);
    const progress = row.progress ?? []; // missing in snapshots of older versions
    const running = { miniBatch: row.mini_batch, count: 1, outcome: 0, isRunning: true, progress };
    return [...finished, { lane, worker, start, end: until, ...running }];
  });
}

function colorOf(bar: Bar, colors: Colors): string {
  if (bar.isRunning) {
    return colors.running;
  }
  if (bar.outcome === FAILED) {
    return colors.failed;
  }
  return bar.outcome === RETRYING ? colors.retrying : colors.done;
}

function stateOf(bar: Bar): string {
  if (bar.isRunning) {
    return t('running');
  }
  if (bar.outcome === FAILED) {
    return t('failed');
  }
  return bar.outcome === RETRYING ? t('failed, retried') : t('done');
}
