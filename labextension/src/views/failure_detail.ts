import { count, plural } from '../model/format';
import type { FailureRow, Failures } from '../model/wire';
import { button, el, setHidden, setText } from './dom';

/** One group of failures, opened: its traceback, and the attempts that failed there. */
export class FailureDetail {
  readonly node: HTMLElement;
  private readonly traceback = el('pre', 'pr-traceback');
  private readonly body = el('tbody');
  private readonly table: HTMLElement;
  private readonly note = el('div', 'pr-more');

  constructor(private readonly showLog: (miniBatch: number) => void) {
    const names = ['Mini-batch', 'Attempt', 'Worker', 'Items', 'Message', ''];
    const head = el('tr', '', ...names.map((name) => el('th', '', name)));
    this.table = el('table', 'pr-attempts', el('thead', '', head), this.body);
    this.table.hidden = true;
    this.traceback.hidden = true;
    this.traceback.tabIndex = 0;
    this.node = el(
      'div',
      'pr-detail',
      this.traceback,
      el('div', 'pr-scroll', this.table),
      this.note,
    );
  }

  drawTraceback(text: string): void {
    setText(this.traceback, text.trimEnd());
    setHidden(this.traceback, false);
  }

  draw(found: Failures, known: number): void {
    if (found.traceback) {
      this.drawTraceback(found.traceback);
    }
    this.body.replaceChildren(...found.rows.map((row) => this.row(row)));
    setHidden(this.table, found.rows.length === 0);
    const hidden = Math.max(found.attempts, known) - found.rows.length;
    this.say(hidden > 0 ? `and ${plural(hidden, 'other attempt')}: run.failures() shows all` : '');
  }

  say(text: string): void {
    setText(this.note, text);
  }

  private row(row: FailureRow): HTMLElement {
    const log = button('pr-link', 'log', () => this.showLog(row.mini_batch));
    log.title = `Show the log of mini-batch ${count(row.mini_batch)}`;
    const attempt = `${count(row.attempt)}${row.is_last ? ', last' : ''}`;
    const texts = [count(row.mini_batch), attempt, row.worker, count(row.items), row.message];
    return el('tr', '', ...texts.map((text) => el('td', '', text)), el('td', '', log));
  }
}
