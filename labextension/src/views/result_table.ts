import { stripAnsi } from '../model/ansi';
import { count, plural } from '../model/format';
import type { Preview, ResultRow } from '../model/wire';
import { t } from '../model/words';
import { announceAs, button, el, Rows, setHidden, setText } from './dom';
import { PreviewView } from './preview';

/** A mini-batch and a position in it. */
type Place = readonly [number, number];

const PICTURE = /\.(png|jpe?g|gif|webp|bmp)$/i;

/** Why an item has no row. */
const REASONS: Readonly<Record<string, string>> = {
  failed: 'it failed',
  running: 'its mini-batch is running',
  left: 'it is not done yet',
  'no row': 'its mini-batch has no row for it',
};

/** A row with the columns that its page has. */
export interface ShownRow {
  readonly row: ResultRow;
  readonly columns: readonly string[];
}

/** Rows of a run with the columns of all of them, each beside its item, with a picture if it is one. */
export class ResultTable {
  readonly node: HTMLElement;
  private readonly head = el('tr');
  private readonly body = el('tbody');
  private readonly more = el('div', 'pr-more');
  private readonly table: HTMLTableElement;
  private readonly rows: Rows<ShownRow>;
  private readonly views = new Map<string, RowView>();
  private columns: readonly string[] = [];

  constructor(showMiniBatch: (miniBatch: number) => void) {
    this.rows = new Rows<ShownRow>(this.body, keyOf, (shown) => {
      const view = new RowView(shown.row, showMiniBatch);
      this.views.set(keyOf(shown), view);
      return { node: view.node, draw: (latest) => view.draw(latest, this.columns) };
    });
    this.table = el('table', '', el('thead', '', this.head), this.body);
    const scrolled = el('div', 'pr-scroll', this.table);
    scrolled.tabIndex = 0;
    announceAs(scrolled, t('Rows'), 'region');
    this.node = el('div', '', scrolled, this.more);
    this.node.hidden = true;
  }

  draw(rows: readonly ShownRow[], columnsHidden: number): void {
    this.columns = [...new Set(rows.flatMap(({ columns }) => columns))];
    const names = this.columns.length > 0 ? this.columns : [t('Row')];
    this.head.replaceChildren(
      ...[t('Item'), ...names].map((name) => {
        const node = el('th', '', stripAnsi(name));
        node.scope = 'col';
        return node;
      }),
    );
    this.rows.draw(rows);
    const keys = new Set(rows.map(keyOf));
    for (const key of this.views.keys()) {
      if (!keys.has(key)) {
        this.views.delete(key);
      }
    }
    const others = plural(columnsHidden, 'other column');
    setText(this.more, columnsHidden > 0 ? t('and {0}', others) : '');
    setHidden(this.node, rows.length === 0);
  }

  /** Returns the items that are pictures and not asked for yet. */
  missingPictures(): readonly Place[] {
    const missing = [...this.views.values()].filter((view) => view.mayHavePicture);
    return missing.map(({ place }) => place);
  }

  /** Draws the pictures that were asked for. */
  drawPictures(places: readonly Place[], previews: readonly Preview[]): void {
    const asked = new Set(places.map(String));
    const of = new Map(previews.map((each) => [String([each.mini_batch, each.position]), each]));
    for (const view of this.views.values()) {
      if (asked.has(String(view.place))) {
        view.drawPicture(of.get(String(view.place)));
      }
    }
  }
}

function keyOf({ row }: ShownRow): string {
  return `${row.mini_batch}:${row.row}:${row.position}`;
}

/** One row. */
class RowView {
  readonly node = el('tr');
  readonly place: Place;
  mayHavePicture: boolean;
  private readonly item: HTMLElement;
  private readonly preview: PreviewView;

  constructor(row: ResultRow, showMiniBatch: (miniBatch: number) => void) {
    this.place = [row.mini_batch, row.position];
    const name = stripAnsi(row.name);
    const isFile = !row.is_row && row.position >= 0;
    this.mayHavePicture = isFile && (row.is_value || PICTURE.test(name));
    this.preview = new PreviewView(name);
    const number = count(row.mini_batch);
    const show = button('pr-link', t('mini-batch {0}', number), () =>
      showMiniBatch(row.mini_batch),
    );
    show.title = t('Show mini-batch {0}', number);
    const title = el('div', 'pr-item-name', lastParts(name));
    title.title = name;
    const facts = el('small', '', factsOf(row), show);
    this.item = el(
      'td',
      '',
      el(
        'div',
        'pr-result-item',
        this.preview.picture,
        el('div', '', title, facts, this.preview.content),
      ),
    );
    this.node.append(this.item);
  }

  draw({ row, columns: own }: ShownRow, columns: readonly string[]): void {
    if (row.row < 0) {
      const reason = el('td', 'pr-quiet', t('no row: {0}', t(REASONS[row.status] ?? row.status)));
      reason.colSpan = Math.max(1, columns.length);
      this.node.replaceChildren(this.item, reason);
      return;
    }
    const texts = columns.length > 0 ? aligned(row.cells, own, columns) : row.cells;
    const cells = [...this.node.children].slice(1);
    if (cells.length !== texts.length || cells.some((cell) => cell.className)) {
      this.node.replaceChildren(this.item, ...texts.map(() => el('td', '', el('div'))));
    }
    texts.forEach((text, index) => {
      setText(this.node.children[index + 1]?.firstChild as HTMLElement, stripAnsi(text));
    });
  }

  drawPicture(preview: Preview | undefined): void {
    this.mayHavePicture = false;
    if (preview) {
      this.preview.draw(preview);
    }
  }
}

/** Returns the cells of a row below the columns of all rows; a row of one text has the first. */
function aligned(
  cells: readonly string[],
  own: readonly string[],
  columns: readonly string[],
): readonly string[] {
  const names = own.length > 0 ? own : columns;
  return columns.map((name) => cells[names.indexOf(name)] ?? '');
}

function factsOf(row: ResultRow): string {
  if (row.position < 0) {
    return `${t('row {0} of', count(row.row))} `;
  }
  const number = row.number >= 0 ? row.number : row.position;
  return `${row.is_row ? t('row {0}', count(number)) : t('item {0}', count(number))}, `;
}

/** Returns the end of a path: the name of the file, and of its folder. */
function lastParts(path: string): string {
  return path.split('/').slice(-2).join('/');
}
