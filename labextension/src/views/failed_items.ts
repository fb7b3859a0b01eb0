import { stripAnsi } from '../model/ansi';
import { count, plural } from '../model/format';
import { errorMessage, type Host } from '../model/host';
import type { FailedItemRow, FailedItems, Preview } from '../model/wire';
import { t } from '../model/words';
import { announceAs, button, el, Rows, setHidden, setText } from './dom';
import { PreviewView } from './preview';

/** A mini-batch and a position in it. */
type Place = readonly [number, number];

const BEFORE_FIRST: Place = [-1, -1];
const PAGE_ITEMS = 20;

/** The items that failed in a group, a page at a time, each with its picture, row or text. */
export class FailedItemList {
  readonly node: HTMLElement;
  private readonly title = el('b');
  private readonly list = el('ol', 'pr-failed-items');
  private readonly more: HTMLButtonElement;
  private readonly note = el('div', 'pr-more');
  private readonly rows: Rows<FailedItemRow>;
  private readonly views = new Map<string, ItemRow>();
  private items: readonly FailedItemRow[] = [];
  private hasMore = false;
  private total = 0;
  private isAsking = false;

  constructor(
    private readonly host: Host,
    private readonly group: string,
    showMiniBatch: (miniBatch: number) => void,
  ) {
    this.more = button('pr-button', t('Show more items'), () => this.fetchMore());
    this.list.tabIndex = 0;
    announceAs(this.list, t('Failed items'));
    this.rows = new Rows<FailedItemRow>(this.list, keyOf, (item) => {
      const row = new ItemRow(item, showMiniBatch);
      this.views.set(keyOf(item), row);
      return row;
    });
    this.node = el('div', 'pr-failed', this.title, this.list, this.more, this.note);
    this.node.hidden = true;
  }

  /** Sets the number of items that failed in the group. */
  draw(total: number): void {
    this.total = total;
    if (total === 0) {
      this.fill({ group: this.group, items: [], has_more: false }, []); // a resume runs them again
    }
    this.describe();
  }

  /** Asks for the first page; pages that follow stay as they are. */
  async fetch(): Promise<void> {
    const isLong = this.items.length > PAGE_ITEMS && this.items.length <= this.total;
    if (this.total === 0 || this.isAsking || isLong) {
      return;
    }
    await this.ask(BEFORE_FIRST, []);
  }

  private fetchMore(): void {
    const last = this.items[this.items.length - 1];
    if (last && !this.isAsking) {
      void this.ask([last.mini_batch, last.position], this.items);
    }
  }

  private async ask(after: Place, before: readonly FailedItemRow[]): Promise<void> {
    this.isAsking = true;
    try {
      const page = await this.host.failedItems(this.group, after);
      this.fill(page, before);
      await this.preview();
    } catch (error) {
      setHidden(this.node, false);
      setText(this.note, errorMessage(error));
    } finally {
      this.isAsking = false;
    }
  }

  private fill(page: FailedItems, before: readonly FailedItemRow[]): void {
    this.items = [...before, ...page.items];
    this.hasMore = page.has_more;
    this.rows.draw(this.items);
    this.describe();
  }

  /** Asks for the previews of new items. */
  private async preview(): Promise<void> {
    const places = this.items
      .filter((item) => !this.views.get(keyOf(item))?.hasPreview)
      .map(({ mini_batch, position }): Place => [mini_batch, position]);
    if (places.length === 0) {
      return;
    }
    for (const preview of await this.host.previews(places)) {
      this.views.get(keyOf(preview))?.drawPreview(preview);
    }
  }

  private describe(): void {
    setHidden(this.node, this.items.length === 0);
    setText(this.title, plural(Math.max(this.total, this.items.length), 'failed item'));
    setHidden(this.more, !this.hasMore);
    const others = this.total - this.items.length;
    const isCut = !this.hasMore && others > 0;
    setText(
      this.note,
      isCut ? t('and {0}: run.failed_items() lists all', plural(others, 'other item')) : '',
    );
  }
}

function keyOf({ mini_batch, position }: { mini_batch: number; position: number }): string {
  return `${mini_batch}:${position}`;
}

/** One failed item. */
class ItemRow {
  readonly node: HTMLElement;
  hasPreview = false;
  private readonly message = el('div', 'pr-message');
  private readonly tries = el('span');
  private readonly preview: PreviewView;

  constructor(item: FailedItemRow, showMiniBatch: (miniBatch: number) => void) {
    const name = stripAnsi(item.name);
    const number = count(item.mini_batch);
    const show = button('pr-link', number, () => showMiniBatch(item.mini_batch));
    show.title = t('Show mini-batch {0}', number);
    const position = count(item.position);
    const words = item.is_row
      ? t('row {0} of mini-batch', position)
      : t('item {0} of mini-batch', position);
    this.preview = new PreviewView(name);
    this.node = el(
      'li',
      '',
      this.preview.picture,
      el(
        'div',
        'pr-item',
        el('div', 'pr-item-name', name),
        this.message,
        el('small', '', `${words} `, show, this.tries),
        this.preview.content,
      ),
    );
  }

  draw(item: FailedItemRow): void {
    setText(this.message, stripAnsi(item.message));
    setText(this.tries, item.tries > 1 ? `, ${t('{0} tries', count(item.tries))}` : '');
  }

  drawPreview(preview: Preview): void {
    this.hasPreview = true;
    this.preview.draw(preview);
  }
}
