import { plural } from '../model/format';
import { errorMessage, type Host } from '../model/host';
import type { ResultRows, RunOutput, Snapshot } from '../model/wire';
import { t } from '../model/words';
import { announceAs, button, el, setHidden, setText } from './dom';
import { ResultTable, type ShownRow } from './result_table';
import type { Section } from './section';
import { VisibilityObserver } from './visibility';

const REFRESH_MS = 2000;
const TYPING_MS = 300;
const MAX_TEXT_LENGTH = 1000;
const BEFORE_FIRST: readonly number[] = [-1, -1];
const PREVIEWS = 20;

/** The committed rows: the latest, the first, or those of an item. Asked for only while open and seen. */
export class Results implements Section {
  readonly node: HTMLDetailsElement;
  private readonly title = el('span');
  private readonly order = el('select', 'pr-select');
  private readonly text = el('input', 'pr-input');
  private readonly table: ResultTable;
  private readonly more: HTMLButtonElement;
  private readonly note = el('div', 'pr-more');
  private readonly visibility: VisibilityObserver;
  private typingTimer: ReturnType<typeof setTimeout> | undefined;
  private snapshot: Snapshot | null = null;
  private rows: readonly ShownRow[] = [];
  private after: readonly number[] = BEFORE_FIRST;
  private isLonger = false;
  private lastRequest = 0;
  private isAsking = false;
  private askedAt = 0;
  private asked = '';

  constructor(
    private readonly host: Host,
    showMiniBatch: (miniBatch: number) => void,
  ) {
    this.table = new ResultTable(showMiniBatch);
    this.more = button('pr-button', '', () => void this.ask(this.after));
    announceAs(this.order, t('Order of the rows'));
    this.order.append(
      option('latest', t('the latest first')),
      option('first', t('in input order')),
    );
    this.order.addEventListener('change', () => this.restart());
    this.text.type = 'search';
    this.text.placeholder = t('search by item');
    announceAs(this.text, t('Search the rows by item'));
    this.text.maxLength = MAX_TEXT_LENGTH;
    this.text.title = t('a part of its path, where * matches any characters; or its number');
    this.text.addEventListener('input', () => {
      clearTimeout(this.typingTimer);
      this.typingTimer = setTimeout(() => this.restart(), TYPING_MS);
    });
    this.text.addEventListener('keydown', (event) => event.stopPropagation());
    this.note.setAttribute('role', 'status');
    const tools = el('span', 'pr-tools', this.order, this.text);
    this.node = el(
      'details',
      'pr-section pr-results',
      el('summary', '', this.title),
      el('div', 'pr-logbar', tools),
      this.table.node,
      el('div', 'pr-logbar', this.more, this.note),
    );
    this.node.hidden = true;
    this.more.hidden = true;
    this.node.addEventListener('toggle', this.refresh);
    this.visibility = new VisibilityObserver(this.node, this.refresh);
  }

  draw({ snapshot }: RunOutput): void {
    this.snapshot = snapshot;
    setHidden(this.node, snapshot.rows === 0 && !this.node.open);
    setText(this.title, t('Results: {0}', plural(snapshot.rows, 'row')));
    this.refresh();
  }

  fetchAgain(): void {
    this.restart();
  }

  dispose(): void {
    clearTimeout(this.typingTimer);
    this.lastRequest = -1;
    this.visibility.dispose();
  }

  /** Starts over, after the order or the text changed. */
  private restart(): void {
    clearTimeout(this.typingTimer);
    this.order.disabled = this.text.value.trim() !== ''; // items are found in input order
    this.lastRequest += 1;
    this.isAsking = false;
    this.asked = '';
    this.isLonger = false;
    this.askedAt = 0;
    this.refresh();
  }

  /** Asks for the first page if there may be new rows; pages that follow stay as they are. */
  private readonly refresh = (): void => {
    const { snapshot } = this;
    if (!snapshot || !this.node.open || !this.visibility.isVisible || this.isLonger) {
      return;
    }
    const version = versionOf(snapshot);
    const isDue = snapshot.is_final || Date.now() - this.askedAt >= REFRESH_MS;
    if (version !== this.asked && isDue && !this.isAsking && this.lastRequest >= 0) {
      this.asked = version;
      void this.ask(BEFORE_FIRST);
    }
  };

  private async ask(after: readonly number[]): Promise<void> {
    if (this.isAsking) {
      return;
    }
    const request = ++this.lastRequest;
    const text = this.text.value.trim();
    const order = this.order.value === 'first' ? 'first' : 'latest';
    this.isAsking = true;
    this.askedAt = Date.now();
    try {
      const page = await this.host.results({ order, text, after });
      if (request === this.lastRequest) {
        this.add(page, text, after === BEFORE_FIRST);
        await this.preview();
      }
    } catch (error) {
      if (request === this.lastRequest) {
        this.asked = ''; // ask again at the next change
        setText(this.note, errorMessage(error));
      }
    } finally {
      if (request === this.lastRequest) {
        this.isAsking = false;
      }
    }
  }

  private add(page: ResultRows, text: string, isFirst: boolean): void {
    const { columns } = page;
    const added = page.rows.map((row) => ({ row, columns }));
    this.rows = isFirst ? added : [...this.rows, ...added];
    this.isLonger = !isFirst;
    this.after = page.after;
    this.table.draw(this.rows, page.columns_hidden);
    setHidden(this.more, !page.has_more);
    setText(this.more, text ? t('Search further') : t('Show more rows'));
    const none = text ? t('no item with this text or number') : t('no rows');
    const isEmpty = this.rows.length === 0 && !page.has_more;
    setText(this.note, [isEmpty ? none : '', page.note].filter(Boolean).join(' · '));
  }

  /** Asks for the pictures of new rows. */
  private async preview(): Promise<void> {
    const places = this.table.missingPictures();
    for (let start = 0; start < places.length; start += PREVIEWS) {
      const some = places.slice(start, start + PREVIEWS);
      this.table.drawPictures(some, await this.host.previews(some));
    }
  }
}

/** Changes whenever a page of rows may have changed. */
function versionOf(snapshot: Snapshot): string {
  const { rows, items_failed: failed, is_final: isFinal, output } = snapshot;
  return [rows, failed, isFinal, output].join();
}

function option(value: string, words: string): HTMLOptionElement {
  const node = el('option', '', words);
  node.value = value;
  return node;
}
