import { usd } from '../model/calls';
import { bytes, clock, count, dayAndTime, duration, percent } from '../model/format';
import { textFilter } from '../model/text_filter';
import { FINAL_STATES, GLYPHS, type RunList, type RunRow } from '../model/wire';
import { noun, t } from '../model/words';
import { announceAs, button, el, Rows, setHidden, setText } from './dom';

/** The actions of a row; unavailable ones are left out. */
export interface RowActions {
  open(row: RunRow): void;
  cancel?(row: RunRow): void;
  resume?(row: RunRow): void;
  attach?(row: RunRow): void;
  canAttach?(): boolean;
}

/** The list of runs, newest first, with a text filter and arrow-key navigation. */
export class RunListView {
  readonly node = el('div', 'pr-list');
  private readonly filter = el('input', 'pr-input pr-filter');
  private readonly body = el('div', 'pr-rows');
  private readonly rows: Rows<RunRow>;
  private readonly note = el('div', 'pr-note');
  private list: RunList = { runs: [], hidden: 0 };

  constructor(actions: RowActions) {
    this.filter.type = 'search';
    this.filter.placeholder = t('filter the runs');
    announceAs(this.filter, t('Filter the runs by name, id or state'));
    this.filter.addEventListener('input', () => this.show());
    this.body.addEventListener('keydown', (event) => this.onKey(event));
    this.note.setAttribute('role', 'status');
    this.node.append(this.filter, this.body, this.note);
    this.rows = new Rows(
      this.body,
      (row) => row.run_id,
      (row) => new ListRow(row, actions),
    );
    this.setNote(t('loading the runs'));
  }

  draw(list: RunList): void {
    this.list = list;
    this.show();
  }

  setNote(text: string): void {
    setText(this.note, text);
    setHidden(this.note, !text);
  }

  private show(): void {
    const { runs, hidden } = this.list;
    const matches = textFilter(this.filter.value.trim());
    const shown = runs.filter((row) => matches(textOf(row)));
    this.rows.draw(shown);
    if (runs.length === 0) {
      this.setNote(t('No runs yet. Start one in a notebook with %%parallelrun.'));
    } else if (shown.length === 0) {
      this.setNote(t('No run matches.'));
    } else {
      const older = hidden > 0 ? [t('and {0} older: run parallelrun list', count(hidden))] : [];
      this.setNote([total(shown), ...older].join(' · '));
    }
  }

  private onKey(event: KeyboardEvent): void {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    const links: (Element | null)[] = [...this.body.querySelectorAll('.pr-open')];
    const index = links.indexOf(document.activeElement);
    if (step !== undefined && index >= 0) {
      (links[index + step] as HTMLElement | undefined)?.focus();
      event.preventDefault();
    }
  }
}

/** Returns the number of runs and their size on disk. */
function total(runs: readonly RunRow[]): string {
  const size = bytes(runs.reduce((sum, row) => sum + row.size_bytes, 0));
  return t('{0} {1}, {2} on disk', count(runs.length), noun('run', runs.length), size);
}

function textOf(row: RunRow): string {
  return `${row.name} ${row.run_id} ${row.headline} ${row.state}`;
}

class ListRow {
  readonly node = el('div', 'pr-row');
  private readonly glyph = el('span', 'pr-glyph');
  private readonly share = el('span', 'pr-share');
  private readonly state = el('span', 'pr-state');
  private readonly size = el('span', 'pr-size');
  private readonly done = el('span', 'pr-fill pr-done');
  private readonly failed = el('span', 'pr-fill pr-failed');
  private readonly bar = el('span', 'pr-bar', this.done, this.failed);
  private readonly cancel: HTMLButtonElement;
  private readonly resume: HTMLButtonElement;
  private readonly attach: HTMLButtonElement;
  private row: RunRow;

  constructor(
    first: RunRow,
    private readonly actions: RowActions,
  ) {
    this.row = first;
    const open = button('pr-open', '', () => actions.open(this.row));
    open.title = first.run_id;
    this.glyph.setAttribute('aria-hidden', 'true');
    const name = el('span', 'pr-name', first.name || first.run_id);
    const time = el('time', '', dayAndTime(first.created_at));
    const top = el('span', 'pr-line', this.glyph, name, this.share);
    const line = el('span', 'pr-line pr-wrap', time, this.size);
    open.append(top, this.bar, el('span', 'pr-line', this.state), line);
    this.cancel = button('pr-link', t('cancel'), () => actions.cancel?.(this.row));
    this.resume = button('pr-link', t('resume'), () => actions.resume?.(this.row));
    this.attach = button('pr-link', t('show in a cell'), () => actions.attach?.(this.row));
    this.node.append(open, el('span', 'pr-row-actions', this.cancel, this.resume, this.attach));
  }

  draw(row: RunRow): void {
    this.row = row;
    const done = row.items - row.items_left;
    this.node.dataset.state = row.state;
    setText(this.glyph, row.is_read ? GLYPHS[row.state] : '');
    setText(this.state, row.headline);
    this.state.title = row.headline; // the text may be truncated
    setText(this.size, row.is_read ? facts(row) : '');
    setText(this.share, row.plan_finished ? `${percent(done, row.items)} %` : '');
    this.bar.classList.toggle('pr-listing', row.is_read && !row.plan_finished && !row.is_final);
    this.done.style.width = width(row.succeeded, row);
    this.failed.style.width = width(row.failed, row);
    const isEnded = row.is_final || FINAL_STATES.has(row.state);
    setHidden(this.cancel, !this.actions.cancel || !row.is_read || isEnded);
    setHidden(this.resume, !this.actions.resume || !row.can_resume);
    setHidden(this.attach, !this.actions.attach || !this.actions.canAttach?.());
  }
}

/** Returns the duration, the finished items, the cost and the disk usage of a run. */
function facts(row: RunRow): string {
  const took = row.is_final ? duration(row.elapsed_s) : clock(row.elapsed_s);
  const done = count(row.items - row.items_left);
  const items = row.plan_finished
    ? t('{0} of {1} items', done, count(row.items))
    : t('{0} items', done);
  const cost = row.usd > 0 ? [`${usd(row.usd)} USD`] : [];
  return [took, items, ...cost, bytes(row.size_bytes)].join(' · ');
}

function width(part: number, row: RunRow): string {
  const total = row.plan_finished ? row.mini_batches : 0;
  return total > 0 ? `${((100 * part) / total).toFixed(2)}%` : '0';
}
