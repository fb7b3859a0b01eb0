import { plain } from '../model/ansi';
import { count, plural } from '../model/format';
import type { FailureRow, Failures } from '../model/wire';
import { t } from '../model/words';
import { copyButton } from './copy';
import { button, el, setHidden, setText } from './dom';

/** One group of failures, opened: its traceback, and the attempts that failed there. */
export class FailureDetail {
  readonly node: HTMLElement;
  private readonly hint = el('div', 'pr-tip');
  private readonly traceback = el('pre', 'pr-traceback');
  private readonly body = el('tbody');
  private readonly table: HTMLElement;
  private readonly note = el('div', 'pr-more');

  constructor(private readonly showMiniBatch: (miniBatch: number) => void) {
    const names = ['Mini-batch', 'Attempt', 'Worker', 'Items', 'Message', 'Again'];
    const head = el('tr', '', ...names.map((name) => el('th', '', t(name))));
    this.table = el('table', 'pr-attempts', el('thead', '', head), this.body);
    this.table.hidden = true;
    this.traceback.hidden = true;
    this.hint.hidden = true;
    this.traceback.tabIndex = 0;
    this.traceback.setAttribute('role', 'group');
    this.traceback.setAttribute('aria-label', t('Traceback'));
    this.node = el(
      'div',
      'pr-detail',
      this.hint,
      this.traceback,
      el('div', 'pr-scroll', this.table),
      this.note,
    );
  }

  /** Says what to do about the failures; `''` for nothing. */
  drawHint(text: string): void {
    setText(this.hint, text ? t('hint: {0}', plain(text)) : '');
    setHidden(this.hint, !text);
  }

  drawTraceback(text: string): void {
    setText(this.traceback, plain(text.trimEnd()));
    setHidden(this.traceback, false);
  }

  draw(found: Failures, known: number): void {
    if (found.traceback) {
      this.drawTraceback(found.traceback);
    }
    this.body.replaceChildren(...found.rows.map((row) => this.row(row)));
    setHidden(this.table, found.rows.length === 0);
    const hidden = Math.max(found.attempts, known) - found.rows.length;
    const others = t('and {0}: run.failures() shows all', plural(hidden, 'other attempt'));
    this.say(hidden > 0 ? others : '');
  }

  say(text: string): void {
    setText(this.note, text);
  }

  private row(row: FailureRow): HTMLElement {
    const number = count(row.mini_batch);
    const show = button('pr-link', number, () => this.showMiniBatch(row.mini_batch));
    show.title = t('Show mini-batch {0}', number);
    const line = `run.try_one(${row.mini_batch})`;
    const copy = copyButton(
      'pr-link',
      () => t('copy {0}', line),
      () => line,
    );
    // A resume gives new attempts, so that there may be several after which it was given up.
    const isGivenUp = row.is_last && row.kind !== 'short_result';
    const attempt = `${count(row.attempt)}${isGivenUp ? `, ${t('given up')}` : ''}`;
    const texts = [attempt, row.worker, count(row.items), plain(row.message)];
    const cells = texts.map((text) => el('td', '', text));
    return el('tr', '', el('td', '', show), ...cells, el('td', '', copy));
  }
}
