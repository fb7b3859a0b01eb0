import { pieces } from '../model/ansi';
import { plural } from '../model/format';
import type { LogWindow } from '../model/wire';
import { t } from '../model/words';
import { el, setText } from './dom';

const KEPT_LINES = 1000;
const NEAR_END_PX = 24;
const STATE_END = '\r';
const GRAVE = /^\S+ \S+Z (ERROR|CRITICAL|WARNING|STDERR) /;

interface State {
  readonly stamp: string;
  readonly nodes: readonly HTMLElement[];
}

/** The lines themselves: the last thousand, always as text, following unless scrolled up. */
export class LogLines {
  readonly node = el('div', 'pr-log');
  private lineCount = 0;
  /** The states of progress bars that are shown, by worker and level: the next line replaces them. */
  private readonly states = new Map<string, State>();

  constructor(scrolled: () => void) {
    this.node.tabIndex = 0;
    this.node.setAttribute('role', 'log');
    this.node.setAttribute('aria-live', 'off');
    this.node.setAttribute('aria-label', t('Log'));
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
    this.states.clear();
    this.node.replaceChildren(el('div', 'pr-more', words));
  }

  /** Adds lines at the end, saying where some were skipped, and lets go of the oldest. */
  add(window: LogWindow): void {
    if (this.lineCount === 0) {
      this.node.replaceChildren();
    }
    const made = window.lines.map((line) => this.made(line));
    if (window.skipped_lines > 0 && this.lineCount > 0) {
      const words = t('{0} skipped', plural(window.skipped_lines, 'line'));
      made.unshift(el('div', 'pr-skipped', words));
    }
    this.node.append(...made);
    this.lineCount += made.length;
    for (; this.lineCount > KEPT_LINES; this.lineCount -= 1) {
      this.node.firstElementChild?.remove();
    }
  }

  /** Makes the node of a line, which takes the place of the bar that it goes on with. */
  private made(line: string): HTMLElement {
    const [worker = '', stamp = '', level = ''] = line.split(' ', 3);
    const key = `${worker} ${level}`;
    const isState = line.endsWith(STATE_END);
    const node = lineNode(line);
    let state = this.states.get(key);
    if (state && !(isState && state.stamp === stamp)) {
      const shown = state.nodes.filter((one) => one.parentNode === this.node);
      for (const one of shown) {
        one.remove();
      }
      this.lineCount -= shown.length;
      this.states.delete(key);
      state = undefined;
    }
    if (isState) {
      this.states.set(key, { stamp, nodes: [...(state?.nodes ?? []), node] });
    }
    return node;
  }

  toEnd(): void {
    this.node.scrollTop = this.node.scrollHeight;
  }
}

function lineNode(line: string): HTMLElement {
  const plain = withoutDay(line);
  const node = el('div', GRAVE.test(plain) ? 'pr-grave' : '');
  const parts = pieces(plain);
  if (parts.length === 1 && parts[0] && !parts[0].classes) {
    setText(node, parts[0].text);
  } else {
    node.append(...parts.map(({ text, classes }) => (classes ? el('span', classes, text) : text)));
  }
  return node;
}

/** The day is left out of each line; the downloaded file has it. */
function withoutDay(line: string): string {
  return line.replace(/^(\S+ )\d{4}-\d\d-\d\dT(\S+Z )/, '$1$2');
}
