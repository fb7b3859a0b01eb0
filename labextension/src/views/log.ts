import { count, plural } from '../model/format';
import { type Host, sentence } from '../model/host';
import type { LogWindow, RunOutput } from '../model/wire';
import { t } from '../model/words';
import { button, el, setHidden, setText } from './dom';
import { LogLines } from './log_lines';
import { LogTools } from './log_tools';
import type { Part } from './part';

const EVERY_MS = 1000;
const LINES = 200;

/** The last lines that the script printed and logged. Asked for only while it is open. */
export class Log implements Part {
  readonly node: HTMLDetailsElement;
  private readonly lines = new LogLines(() => this.scrolled());
  private readonly tools: LogTools;
  private readonly chosen = button('pr-link', '', () => this.show('', -1));
  private readonly follow = button('pr-link', t('follow'), () => this.resume());
  private readonly file = el('a', 'pr-link', t('download'));
  private readonly note = el('span', 'pr-more');
  private miniBatch = -1;
  private isFinal = false;
  private hasAll = false;
  private isPaused = false;
  private ends: Readonly<Record<string, number>> = {};
  private timer: ReturnType<typeof setTimeout> | undefined;
  private asked = 0;

  constructor(private readonly host: Host) {
    this.tools = new LogTools(() => this.restart());
    this.file.download = '';
    this.note.setAttribute('role', 'status');
    const bar = el('div', 'pr-logbar', this.tools.node, this.chosen, this.file);
    const foot = el('div', 'pr-logbar', this.note, this.follow);
    this.node = el(
      'details',
      'pr-section',
      el('summary', '', t('Log')),
      bar,
      this.lines.node,
      foot,
    );
    this.node.addEventListener('toggle', () => this.ask());
    this.clear();
  }

  /** Shows the log of one worker, of one mini-batch, or (with `''` and -1) of all. */
  show(worker: string, miniBatch: number): void {
    this.miniBatch = miniBatch;
    this.tools.choose(worker);
    this.node.open = true;
    this.restart();
    this.node.scrollIntoView({ block: 'nearest' });
  }

  draw({ snapshot }: RunOutput): void {
    this.tools.offer(snapshot.workers.map((row) => row.worker));
    if (snapshot.is_final !== this.isFinal) {
      this.isFinal = snapshot.is_final;
      this.hasAll = false;
      this.ask();
    }
  }

  dispose(): void {
    clearTimeout(this.timer);
    this.asked = -1;
    this.tools.dispose();
  }

  /** Begins anew: something else is wanted. */
  private restart(): void {
    this.hasAll = false;
    this.clear();
    this.ask();
  }

  private clear(): void {
    this.ends = {};
    this.isPaused = false;
    this.lines.clear('');
    setText(this.note, '');
    const one = this.miniBatch >= 0 ? t('mini-batch {0} ×', count(this.miniBatch)) : '';
    setText(this.chosen, one);
    this.chosen.title = t('Show all of the log');
    setHidden(this.chosen, !one);
    setHidden(this.follow, true);
    const file = this.host.logFile(this.tools.wanted.worker);
    setHidden(this.file, file === null);
    this.file.href = file ?? '';
  }

  private ask(): void {
    clearTimeout(this.timer);
    if (this.asked < 0 || !this.node.open || this.hasAll || this.isPaused) {
      return;
    }
    const number = ++this.asked;
    const wasFinal = this.isFinal;
    const wanted = { ...this.tools.wanted, mini_batch: this.miniBatch };
    this.host
      .logs({ ...wanted, lines: LINES, since: this.ends })
      .then((window) => {
        if (number === this.asked) {
          this.take(window);
          this.hasAll = wasFinal;
        }
      })
      .catch((error: unknown) => {
        if (number === this.asked) {
          setText(this.note, sentence(error));
        }
      })
      .finally(() => {
        if (number === this.asked && !document.hidden) {
          this.timer = setTimeout(() => this.ask(), EVERY_MS);
        } else if (number === this.asked) {
          document.addEventListener('visibilitychange', () => this.ask(), { once: true });
        }
      });
  }

  private take(window: LogWindow): void {
    const isFirst = Object.keys(this.ends).length === 0;
    const isFollowing = isFirst || this.lines.isAtEnd;
    this.ends = window.ends;
    if (window.lines.length > 0 || window.skipped_lines > 0) {
      this.lines.add(window);
    } else if (this.lines.count === 0) {
      this.lines.clear(this.tools.isFiltering ? t('no such line') : t('nothing was printed yet'));
    }
    if (isFollowing) {
      this.lines.toEnd();
    }
    const parts = [
      isFirst && window.has_older ? t('the last {0}', plural(window.lines.length, 'line')) : '',
      window.cut_lines > 0 ? t('{0} cut', plural(window.cut_lines, 'long line')) : '',
      window.is_partial ? t('the search ended early: not all of the log was looked at') : '',
    ];
    if (isFirst || parts.some(Boolean)) {
      setText(this.note, parts.filter(Boolean).join(' · '));
    }
  }

  private scrolled(): void {
    const isPaused = !this.isFinal && !this.lines.isAtEnd;
    if (isPaused !== this.isPaused) {
      this.isPaused = isPaused;
      setHidden(this.follow, !isPaused);
      setText(this.note, isPaused ? t('paused') : '');
      this.ask();
    }
  }

  private resume(): void {
    this.lines.toEnd();
    this.lines.node.focus();
    this.scrolled();
  }
}
