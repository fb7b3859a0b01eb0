import { count, dayAndTime, percent } from '../model/format';
import { GLYPHS, type RunList, type RunRow } from '../model/wire';
import { t } from '../model/words';
import { button, el, Rows, setHidden, setText } from './dom';

/** The runs, newest first; a click opens one. */
export class RunListView {
  readonly node = el('div', 'pr-list');
  private readonly rows: Rows<RunRow>;
  private readonly note = el('div', 'pr-note');

  constructor(open: (row: RunRow) => void) {
    const body = el('div', 'pr-rows');
    this.node.append(body, this.note);
    this.rows = new Rows(
      body,
      (row) => row.run_id,
      (row) => new ListRow(row, open),
    );
    this.say(t('reading the runs'));
  }

  draw({ runs, hidden }: RunList): void {
    this.rows.draw(runs);
    const none = t('No runs yet. Start one in a notebook with %%parallelrun.');
    const older = hidden > 0 ? t('and {0} older: parallelrun list', count(hidden)) : '';
    this.say(runs.length === 0 ? none : older);
  }

  say(text: string): void {
    setText(this.note, text);
    setHidden(this.note, !text);
  }
}

class ListRow {
  readonly node: HTMLButtonElement;
  private readonly glyph = el('span', 'pr-glyph');
  private readonly share = el('span', 'pr-share');
  private readonly state = el('span', 'pr-state');
  private readonly done = el('span', 'pr-fill pr-done');
  private readonly failed = el('span', 'pr-fill pr-failed');
  private readonly bar = el('span', 'pr-bar', this.done, this.failed);

  constructor(row: RunRow, open: (row: RunRow) => void) {
    this.node = button('pr-row', '', () => open(row));
    this.node.title = row.run_id;
    this.glyph.setAttribute('aria-hidden', 'true');
    const name = el('span', 'pr-name', row.name || row.run_id);
    const when = el('time', '', dayAndTime(row.created_at));
    const top = el('span', 'pr-line', this.glyph, name, this.share);
    this.node.append(top, this.bar, el('span', 'pr-line', this.state, when));
  }

  draw(row: RunRow): void {
    const over = row.succeeded + row.failed;
    this.node.dataset.state = row.state;
    setText(this.glyph, row.is_read ? GLYPHS[row.state] : '');
    setText(this.state, row.headline);
    setText(this.share, row.plan_finished ? `${percent(over, row.mini_batches)} %` : '');
    this.bar.classList.toggle('pr-listing', row.is_read && !row.plan_finished && !row.is_final);
    this.done.style.width = width(row.succeeded, row);
    this.failed.style.width = width(row.failed, row);
  }
}

function width(part: number, row: RunRow): string {
  const total = row.plan_finished ? row.mini_batches : 0;
  return total > 0 ? `${((100 * part) / total).toFixed(2)}%` : '0';
}
