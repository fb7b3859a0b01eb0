import { el, setText } from './dom';

/** Resolved colours of the sheet, for what is painted. */
export type Colors = Readonly<Record<ColorName, string>>;
const NAMES = ['done', 'failed', 'running', 'retrying', 'left', 'page', 'text', 'quiet'] as const;
type ColorName = (typeof NAMES)[number];

const KEYS = [
  'ArrowLeft',
  'ArrowRight',
  'ArrowUp',
  'ArrowDown',
  'Home',
  'End',
  'PageUp',
  'PageDown',
];

/**
 * Marks painted on a canvas, of which one is chosen: by the pointer, or by the keys, as on a slider.
 * What is chosen is said below, in a line that is always there.
 */
export abstract class Chart {
  readonly node: HTMLElement;
  protected chosen = -1;
  protected width = 0;
  private readonly canvas = el('canvas', 'pr-canvas');
  private readonly hint = el('div', 'pr-hint');
  private readonly probe = el('i', 'pr-probe');
  private readonly observer: ResizeObserver;

  constructor(
    label: string,
    private readonly idleHint: string,
  ) {
    this.canvas.tabIndex = 0;
    this.canvas.setAttribute('role', 'slider');
    this.canvas.setAttribute('aria-label', label);
    for (const name of ['min', 'max', 'now']) {
      this.canvas.setAttribute(`aria-value${name}`, '0');
    }
    setText(this.hint, idleHint);
    this.probe.setAttribute('aria-hidden', 'true');
    this.node = el('div', 'pr-chart', this.canvas, this.hint, this.probe);
    this.canvas.addEventListener('pointermove', (event) => this.choose(this.hit(...at(event))));
    this.canvas.addEventListener('pointerleave', () => this.choose(-1));
    this.canvas.addEventListener('click', (event) => this.openIf(this.hit(...at(event))));
    this.canvas.addEventListener('keydown', (event) => this.key(event));
    this.canvas.addEventListener('blur', () => this.choose(-1));
    this.observer = new ResizeObserver(() => this.repaint());
    this.observer.observe(this.node);
  }

  dispose(): void {
    this.observer.disconnect();
  }

  /** How many marks there are. */
  protected abstract size(): number;
  protected abstract height(): number;
  protected abstract paint(context: CanvasRenderingContext2D, colors: Colors): void;
  /** The mark at a place, or -1. */
  protected abstract hit(x: number, y: number): number;
  protected abstract describe(mark: number): string;
  protected abstract open(mark: number): void;
  /** The mark that a key leads to. */
  protected abstract next(mark: number, key: string): number;
  /** Leads back out of where `open` led, if it did. */
  protected back(): void {}

  /** Paints anew, where the chart can be seen. */
  protected repaint(): void {
    const width = Math.floor(this.node.clientWidth);
    const context = width > 0 ? this.canvas.getContext('2d') : null;
    if (!context) {
      return;
    }
    this.width = width;
    const height = this.height();
    const scale = window.devicePixelRatio || 1;
    const [w, h] = [Math.round(width * scale), Math.round(height * scale)];
    if (this.canvas.width !== w || this.canvas.height !== h) {
      this.canvas.width = w;
      this.canvas.height = h;
      this.canvas.style.height = `${height}px`;
    }
    context.setTransform(scale, 0, 0, scale, 0, 0);
    context.clearRect(0, 0, width, height);
    this.paint(context, this.colors());
    this.say();
  }

  private colors(): Colors {
    const found = NAMES.map((name) => {
      this.probe.style.color = `var(--pr-${name})`;
      return [name, getComputedStyle(this.probe).color] as const;
    });
    return Object.fromEntries(found) as Record<ColorName, string>;
  }

  private choose(mark: number): void {
    if (mark !== this.chosen) {
      this.chosen = mark;
      this.repaint();
    }
  }

  private say(): void {
    const size = this.size();
    const mark = Math.min(this.chosen, size - 1);
    const said = mark >= 0 ? this.describe(mark) : this.idleHint;
    setText(this.hint, said);
    this.canvas.setAttribute('aria-valuemax', String(Math.max(0, size - 1)));
    this.canvas.setAttribute('aria-valuenow', String(Math.max(0, mark)));
    this.canvas.setAttribute('aria-valuetext', said);
  }

  private openIf(mark: number): void {
    if (mark >= 0 && mark < this.size()) {
      this.open(mark);
    }
  }

  private key(event: KeyboardEvent): void {
    if (event.key === 'Enter' || event.key === ' ') {
      this.openIf(this.chosen);
    } else if (event.key === 'Escape') {
      this.back();
    } else if (KEYS.includes(event.key)) {
      const last = this.size() - 1;
      const isFirst = this.chosen < 0 && event.key !== 'End';
      const next = isFirst ? 0 : this.next(Math.max(0, this.chosen), event.key);
      this.choose(Math.max(0, Math.min(last, next)));
    } else {
      return;
    }
    event.preventDefault();
    event.stopPropagation(); // the notebook has its own uses for these keys
  }
}

function at(event: MouseEvent): [number, number] {
  return [event.offsetX, event.offsetY];
}
