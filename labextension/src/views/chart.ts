import { announceAs, el, setText } from './dom';

/** The colors of the style sheet, resolved for the canvas. */
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
 * A canvas of marks. The pointer or the keyboard selects one, as on a slider; a line below the
 * canvas describes the selected mark.
 */
export abstract class Chart {
  readonly node: HTMLElement;
  protected selected = -1;
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
    announceAs(this.canvas, label, 'slider');
    for (const name of ['min', 'max', 'now']) {
      this.canvas.setAttribute(`aria-value${name}`, '0');
    }
    setText(this.hint, idleHint);
    this.probe.setAttribute('aria-hidden', 'true');
    this.node = el('div', 'pr-chart', this.canvas, this.hint, this.probe);
    this.canvas.addEventListener('pointermove', (event) =>
      this.select(this.hit(...position(event))),
    );
    this.canvas.addEventListener('pointerleave', () => this.select(-1));
    this.canvas.addEventListener('click', (event) => this.openIf(this.hit(...position(event))));
    this.canvas.addEventListener('keydown', (event) => this.onKey(event));
    this.canvas.addEventListener('blur', () => this.select(-1));
    this.observer = new ResizeObserver(() => this.repaint());
    this.observer.observe(this.node);
  }

  dispose(): void {
    this.observer.disconnect();
  }

  /** Returns the number of marks. */
  protected abstract size(): number;
  protected abstract height(): number;
  protected abstract paint(context: CanvasRenderingContext2D, colors: Colors): void;
  /** Returns the mark at a position (px), or -1. */
  protected abstract hit(x: number, y: number): number;
  protected abstract describe(mark: number): string;
  protected abstract open(mark: number): void;
  /** Returns the mark that a key moves to; it may be out of range. */
  protected abstract next(mark: number, key: string): number;
  /** Closes the content that `open` opened. */
  protected back(): void {}

  /** Repaints the chart; does nothing while it is hidden. */
  protected repaint(): void {
    const width = Math.floor(this.node.clientWidth);
    const context = width > 0 ? this.canvas.getContext('2d') : null;
    if (!context) {
      return;
    }
    this.width = width;
    if (this.selected >= this.size()) {
      this.selected = Math.max(0, this.size() - 1);
    }
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
    this.describeSelected();
  }

  private colors(): Colors {
    const colors = NAMES.map((name) => {
      this.probe.style.color = `var(--pr-${name})`;
      return [name, getComputedStyle(this.probe).color] as const;
    });
    return Object.fromEntries(colors) as Record<ColorName, string>;
  }

  private select(mark: number): void {
    if (mark !== this.selected) {
      this.selected = mark;
      this.repaint();
    }
  }

  private describeSelected(): void {
    const isSelected = this.selected >= 0 && this.selected < this.size();
    const description = isSelected ? this.describe(this.selected) : this.idleHint;
    setText(this.hint, description);
    this.canvas.setAttribute('aria-valuemax', String(Math.max(0, this.size() - 1)));
    this.canvas.setAttribute('aria-valuenow', String(Math.max(0, this.selected)));
    this.canvas.setAttribute('aria-valuetext', description);
  }

  private openIf(mark: number): void {
    if (mark >= 0 && mark < this.size()) {
      this.open(mark);
    }
  }

  private onKey(event: KeyboardEvent): void {
    if (event.key === 'Enter' || event.key === ' ') {
      this.openIf(this.selected);
    } else if (event.key === 'Escape') {
      this.back();
    } else if (KEYS.includes(event.key)) {
      const last = this.size() - 1;
      const isFirst = this.selected < 0 && event.key !== 'End';
      const next = isFirst ? 0 : this.next(Math.max(0, this.selected), event.key);
      this.select(Math.max(0, Math.min(last, next)));
    } else {
      return;
    }
    event.preventDefault();
    event.stopPropagation(); // the notebook has shortcuts on these keys
  }
}

function position(event: MouseEvent): [number, number] {
  return [event.offsetX, event.offsetY];
}
