import { stripAnsi } from '../model/ansi';
import { count, plural } from '../model/format';
import type { FailureRow, Failures } from '../model/wire';
import { t } from '../model/words';
import { copyButton } from './copy';
import { announceAs, button, el, setHidden, setText } from './dom';

/** The content of a group of failures: its traceback, its failed items and its failed attempts. */
export class FailureDetail {
  readonly node: HTMLElement;
  private readonly hint = el('div', 'pr-tip');
  private readonly traceback = el('pre', 'pr-traceback');
  private readonly body = el('tbody');
  private readonly table: HTMLElement;
  private readonly note = el('div', 'pr-more');

  constructor(
    private readonly showMiniBatch: (miniBatch: number) => void,
    items: HTMLElement,
  ) {
    const names = ['Mini-batch', 'Attempt', 'Worker', 'Items', 'Message', 'Reproduce'];
    const head = el('tr', '', ...names.map((name) => el('th', '', t(name))));
    this.table = el('table', 'pr-attempts', el('thead', '', head), this.body);
    this.table.hidden = true;
    this.traceback.hidden = true;
    this.hint.hidden = true;
    this.traceback.tabIndex = 0;
    announceAs(this.traceback, t('Traceback'), 'group');
    this.node = el(
      'div',
      'pr-detail',
      this.hint,
      this.traceback,
      items,
      el('div', 'pr-scroll', this.table),
      this.note,
    );
  }

  /** Draws the hint about a remedy; `''` for none. */
  drawHint(text: string): void {
    setText(this.hint, text ? t('hint: {0}', stripAnsi(text)) : '');
    setHidden(this.hint, !text);
  }

  drawTraceback(text: string): void {
    setText(this.traceback, stripAnsi(text.trimEnd()));
    setHidden(this.traceback, false);
  }

  draw(failures: Failures, attempts: number): void {
    if (failures.traceback) {
      this.drawTraceback(failures.traceback);
    }
    this.body.replaceChildren(...failures.rows.map((row) => this.row(row)));
    setHidden(this.table, failures.rows.length === 0);
    const hidden = Math.max(failures.attempts, attempts) - failures.rows.length;
    const others = t('and {0}: run.failures() shows all', plural(hidden, 'other attempt'));
    this.setNote(hidden > 0 ? others : '');
  }

  setNote(text: string): void {
    setText(this.note, text);
  }

  private row(row: FailureRow): HTMLElement {
    const number = count(row.mini_batch);
    const show = button('pr-link', number, () => this.showMiniBatch(row.mini_batch));
    show.title = t('Show mini-batch {0}', number);
    const command = `run.try_one(${row.mini_batch})`;
    const copy = copyButton(
      'pr-link',
      () => t('copy {0}', command),
      () => command,
    );
    // A resume grants new attempts, so several attempts may have been the last one.
    const isLast = row.is_last && row.kind !== 'short_result';
    const attempt = `${count(row.attempt)}${isLast ? `, ${t('failed for good')}` : ''}`;
    const texts = [attempt, row.worker, count(row.items), stripAnsi(row.message)];
    const cells = texts.map((text) => el('td', '', text));
    return el('tr', '', el('td', '', show), ...cells, el('td', '', copy));
  }
}
