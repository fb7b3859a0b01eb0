import { count, plural } from '../model/format';
import { errorMessage, type Host } from '../model/host';
import type { LogWindow, RunOutput } from '../model/wire';
import { t } from '../model/words';
import { button, el, setHidden, setText } from './dom';
import { LogFilters } from './log_filters';
import { LogLines } from './log_lines';
import type { Section } from './section';
import { VisibilityObserver } from './visibility';

const POLL_MS = 1000;
const MAX_LINES = 200;

/** The last lines that the script printed or logged. Polled only while open and on screen. */
export class Log implements Section {
  readonly node: HTMLDetailsElement;
  private readonly lines = new LogLines(() => this.onScroll());
  private readonly filters: LogFilters;
  private readonly miniBatchFilter = button('pr-link', '', () => this.show('', -1));
  private readonly follow = button('pr-link', t('follow'), () => this.followAgain());
  private readonly file = el('a', 'pr-link', t('download'));
  private readonly note = el('span', 'pr-more');
  private miniBatch = -1;
  private isFinal = false;
  private hasAll = false;
  private isPaused = false;
  private hasError = false;
  private ends: Readonly<Record<string, number>> = {};
  private timer: ReturnType<typeof setTimeout> | undefined;
  private lastRequest = 0;
  private readonly visibility: VisibilityObserver;

  constructor(private readonly host: Host) {
    this.filters = new LogFilters(() => this.restart());
    this.file.download = '';
    this.note.setAttribute('role', 'status');
    const bar = el('div', 'pr-logbar', this.filters.node, this.miniBatchFilter, this.file);
    const foot = el('div', 'pr-logbar', this.note, this.follow);
    this.node = el(
      'details',
      'pr-section',
      el('summary', '', t('Log')),
      bar,
      this.lines.node,
      foot,
    );
    this.node.addEventListener('toggle', this.poll);
    this.visibility = new VisibilityObserver(this.node, this.poll);
    this.clear();
  }

  /** Opens the log of one worker, of one mini-batch, or (with `''` and -1) of all. */
  show(worker: string, miniBatch: number): void {
    this.miniBatch = miniBatch;
    this.filters.selectWorker(worker);
    this.node.open = true;
    this.restart();
    this.node.scrollIntoView({ block: 'nearest' });
  }

  draw({ snapshot }: RunOutput): void {
    this.filters.setWorkers(snapshot.workers.map((row) => row.worker));
    if (snapshot.is_final !== this.isFinal) {
      this.isFinal = snapshot.is_final;
      this.hasAll = false;
      this.poll();
    }
  }

  fetchAgain(): void {
    this.restart();
  }

  dispose(): void {
    clearTimeout(this.timer);
    this.lastRequest = -1;
    this.visibility.dispose();
    this.filters.dispose();
  }

  /** Starts over, after a filter changed. */
  private restart(): void {
    this.hasAll = false;
    this.clear();
    this.poll();
  }

  private clear(): void {
    this.ends = {};
    this.isPaused = false;
    this.lines.clear('');
    setText(this.note, '');
    const label = this.miniBatch >= 0 ? t('mini-batch {0} ×', count(this.miniBatch)) : '';
    setText(this.miniBatchFilter, label);
    this.miniBatchFilter.title = t('Show the whole log');
    setHidden(this.miniBatchFilter, !label);
    setHidden(this.follow, true);
    const file = this.host.logFile(this.filters.selected.worker);
    setHidden(this.file, file === null);
    this.file.href = file ?? '';
  }

  private readonly poll = (): void => {
    clearTimeout(this.timer);
    const isWatched = this.node.open && !this.isPaused && this.visibility.isVisible;
    if (this.lastRequest < 0 || this.hasAll || !isWatched) {
      return;
    }
    const request = ++this.lastRequest;
    const wasFinal = this.isFinal;
    const filter = { ...this.filters.selected, mini_batch: this.miniBatch };
    this.host
      .logs({ ...filter, lines: MAX_LINES, since: this.ends })
      .then((window) => {
        if (request === this.lastRequest) {
          this.clearError();
          this.add(window);
          this.hasAll = wasFinal;
        }
      })
      .catch((error: unknown) => {
        if (request === this.lastRequest) {
          this.hasError = true;
          setText(this.note, errorMessage(error));
        }
      })
      .finally(() => {
        if (request === this.lastRequest) {
          this.timer = setTimeout(this.poll, POLL_MS);
        }
      });
  };

  private clearError(): void {
    if (this.hasError) {
      this.hasError = false;
      setText(this.note, '');
    }
  }

  private add(window: LogWindow): void {
    const isFirst = Object.keys(this.ends).length === 0;
    const isFollowing = isFirst || this.lines.isAtEnd;
    this.ends = window.ends;
    if (window.lines.length > 0 || window.skipped_lines > 0) {
      this.lines.add(window);
    } else if (this.lines.count === 0) {
      this.lines.clear(this.filters.isFiltering ? t('no matching lines') : t('no output yet'));
    }
    if (isFollowing) {
      this.lines.toEnd();
    }
    const notes = [
      isFirst && window.has_older ? t('the last {0}', plural(window.lines.length, 'line')) : '',
      window.cut_lines > 0 ? t('{0} truncated', plural(window.cut_lines, 'long line')) : '',
      window.is_partial ? t('the search stopped early: part of the log was not searched') : '',
    ];
    if (isFirst || notes.some(Boolean)) {
      setText(this.note, notes.filter(Boolean).join(' · '));
    }
  }

  private onScroll(): void {
    const isPaused = !this.isFinal && !this.lines.isAtEnd;
    if (isPaused !== this.isPaused) {
      this.isPaused = isPaused;
      setHidden(this.follow, !isPaused);
      setText(this.note, isPaused ? t('paused') : '');
      this.poll();
    }
  }

  private followAgain(): void {
    this.lines.toEnd();
    this.lines.node.focus();
    this.onScroll();
  }
}
