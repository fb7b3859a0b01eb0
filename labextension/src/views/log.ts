import { count, plural } from '../model/format';
import { type Host, sentence } from '../model/host';
import type { LogWindow, RunOutput } from '../model/wire';
import { button, el, setHidden, setText } from './dom';
import type { Part } from './part';

const EVERY_MS = 1000;
const NEAR_END_PX = 24;

/** The last lines that the script printed and logged. Asked for only while it is open. */
export class Log implements Part {
  readonly node: HTMLDetailsElement;
  private readonly text = el('pre', 'pr-log');
  private readonly chosen = el('span', 'pr-chosen');
  private readonly all = button('pr-link', 'show all', () => this.show('', -1));
  private readonly note = el('span', 'pr-more');
  private worker = '';
  private miniBatch = -1;
  private isFinal = false;
  private hasAll = false;
  private timer: ReturnType<typeof setTimeout> | undefined;
  private asked = 0;

  constructor(private readonly host: Host) {
    this.text.tabIndex = 0;
    this.text.setAttribute('aria-label', 'Log');
    const bar = el('div', 'pr-logbar', this.chosen, this.all, this.note);
    this.node = el('details', 'pr-section', el('summary', '', 'Log'), bar, this.text);
    this.node.addEventListener('toggle', () => this.ask());
    this.text.addEventListener('scroll', () => this.sayWhetherFollowing());
    this.choose();
  }

  /** Shows the log of one worker, of one mini-batch, or (with `''` and -1) of all. */
  show(worker: string, miniBatch: number): void {
    this.worker = worker;
    this.miniBatch = miniBatch;
    this.hasAll = false;
    this.choose();
    if (this.node.open) {
      this.ask();
    } else {
      this.node.open = true;
    }
    this.node.scrollIntoView({ block: 'nearest' });
  }

  draw({ snapshot }: RunOutput): void {
    if (snapshot.is_final !== this.isFinal) {
      this.isFinal = snapshot.is_final;
      this.hasAll = false;
      this.ask();
    }
  }

  dispose(): void {
    clearTimeout(this.timer);
    this.asked = -1;
  }

  private choose(): void {
    const one = this.worker || (this.miniBatch >= 0 ? `mini-batch ${count(this.miniBatch)}` : '');
    setText(this.chosen, one ? `of ${one}` : 'of all workers');
    setHidden(this.all, !one);
  }

  private ask(): void {
    clearTimeout(this.timer);
    if (this.asked < 0 || !this.node.open || this.hasAll) {
      return;
    }
    const number = ++this.asked;
    const wasFinal = this.isFinal;
    this.host
      .logs(this.worker, this.miniBatch)
      .then((window) => {
        if (number === this.asked) {
          this.fill(window);
          this.hasAll = wasFinal;
        }
      })
      .catch((error: unknown) => setText(this.note, sentence(error)))
      .finally(() => {
        if (number === this.asked) {
          this.timer = setTimeout(() => this.ask(), EVERY_MS);
        }
      });
  }

  private fill(window: LogWindow): void {
    const isFollowing = this.isAtEnd();
    setText(this.text, window.lines.map(withoutDay).join('\n') || 'nothing was printed yet');
    if (isFollowing) {
      this.text.scrollTop = this.text.scrollHeight;
    }
    const parts = [];
    if (window.has_older) {
      parts.push(`last ${plural(window.lines.length, 'line')}; run.logs() shows more`);
    }
    if (window.cut_lines > 0) {
      parts.push(`${plural(window.cut_lines, 'long line')} cut`);
    }
    this.note.dataset.said = parts.join(' · ');
    this.sayWhetherFollowing();
  }

  private sayWhetherFollowing(): void {
    const said = this.note.dataset.said ?? '';
    const isPaused = !this.isFinal && !this.isAtEnd();
    const paused = isPaused ? 'not following: scroll to the end to follow' : '';
    setText(this.note, [said, paused].filter(Boolean).join(' · '));
  }

  private isAtEnd(): boolean {
    const { scrollTop, scrollHeight, clientHeight } = this.text;
    return scrollHeight - scrollTop - clientHeight < NEAR_END_PX;
  }
}

/** The day is left out of each line; run.logs() has it. */
function withoutDay(line: string): string {
  return line.replace(/^(\S+ )\d{4}-\d\d-\d\dT(\S+Z )/, '$1$2');
}
