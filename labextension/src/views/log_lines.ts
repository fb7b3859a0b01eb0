import { parseAnsi, type StyledText } from '../model/ansi';
import { plural } from '../model/format';
import type { LogWindow } from '../model/wire';
import { t } from '../model/words';
import { announceAs, el, setText } from './dom';

const MAX_LINES = 1000;
const NEAR_END_PX = 24;
const PROGRESS_END = '\r';
const SEVERE = /^\S+ \S+Z (ERROR|CRITICAL|WARNING|STDERR) /;

/** The lines of one report of a progress bar, which share a time stamp. */
interface ProgressReport {
  readonly stamp: string;
  readonly nodes: readonly HTMLElement[];
}

/** The displayed lines: the last thousand, always as text. */
export class LogLines {
  readonly node = el('div', 'pr-log');
  private lineCount = 0;
  /** The displayed progress reports by worker and level; the next line replaces them. */
  private readonly reports = new Map<string, ProgressReport>();

  constructor(scrolled: () => void) {
    this.node.tabIndex = 0;
    this.node.setAttribute('role', 'log');
    this.node.setAttribute('aria-live', 'off');
    announceAs(this.node, t('Log'));
    this.node.addEventListener('scroll', scrolled);
  }

  get isAtEnd(): boolean {
    const { scrollTop, scrollHeight, clientHeight } = this.node;
    return scrollHeight - scrollTop - clientHeight < NEAR_END_PX;
  }

  get count(): number {
    return this.lineCount;
  }

  clear(words: string): void {
    this.lineCount = 0;
    this.reports.clear();
    this.node.replaceChildren(el('div', 'pr-more', words));
  }

  /** Appends lines, marks skipped ones, and removes the oldest above the limit. */
  add(window: LogWindow): void {
    if (this.lineCount === 0) {
      this.node.replaceChildren();
    }
    const nodes = window.lines.map((line) => this.nodeOf(line));
    if (window.skipped_lines > 0 && this.lineCount > 0) {
      const words = t('{0} skipped', plural(window.skipped_lines, 'line'));
      nodes.unshift(el('div', 'pr-skipped', words));
    }
    this.node.append(...nodes);
    this.lineCount += nodes.length;
    for (; this.lineCount > MAX_LINES; this.lineCount -= 1) {
      this.node.firstElementChild?.remove();
    }
  }

  /** Creates the node of a line, and removes the progress report that the line replaces. */
  private nodeOf(line: string): HTMLElement {
    const [worker = '', stamp = '', level = ''] = line.split(' ', 3);
    const key = `${worker} ${level}`;
    const isProgress = line.endsWith(PROGRESS_END);
    const node = lineNode(line);
    let report = this.reports.get(key);
    if (report && !(isProgress && report.stamp === stamp)) {
      const shown = report.nodes.filter((old) => old.parentNode === this.node);
      for (const old of shown) {
        old.remove();
      }
      this.lineCount -= shown.length;
      this.reports.delete(key);
      report = undefined;
    }
    if (isProgress) {
      this.reports.set(key, { stamp, nodes: [...(report?.nodes ?? []), node] });
    }
    return node;
  }

  toEnd(): void {
    this.node.scrollTop = this.node.scrollHeight;
  }
}

function lineNode(line: string): HTMLElement {
  const text = withoutDate(line);
  const node = el('div', SEVERE.test(text) ? 'pr-grave' : '');
  const [first, ...others] = parseAnsi(text);
  if (first && !first.classes && others.length === 0) {
    setText(node, first.text);
  } else {
    const pieces = first ? [first, ...others] : [];
    node.append(...pieces.map((piece) => styled(piece)));
  }
  return node;
}

function styled({ text, classes }: StyledText): HTMLElement | string {
  return classes ? el('span', classes, text) : text;
}

/** Removes the date from a line; the downloaded file contains it. */
function withoutDate(line: string): string {
  return line.replace(/^(\S+ )\d{4}-\d\d-\d\dT(\S+Z )/, '$1$2');
}
