import { stripAnsi } from '../model/ansi';
import { count, duration, plural } from '../model/format';
import { errorMessage, type Host } from '../model/host';
import { itemsText } from '../model/ranges';
import type { AttemptRow, MiniBatchDetail, RunOutput } from '../model/wire';
import { t } from '../model/words';
import { copyButton } from './copy';
import { announceAs, button, el, setHidden, setText } from './dom';
import type { Section } from './section';

const REFRESH_MS = 2000;
const COLUMNS = ['Attempt', 'Worker', 'Items', 'Result', 'Ended', 'Duration', 'Message'] as const;

/** One mini-batch: its items, its attempts, and links to its log and to `run.try_one()`. */
export class MiniBatchView implements Section {
  readonly node = el('section', 'pr-one');
  private readonly title = el('b');
  private readonly state = el('span', 'pr-state');
  private readonly items = el('ol', 'pr-items');
  private readonly more = el('div', 'pr-more');
  private readonly body = el('tbody');
  private readonly table: HTMLElement;
  private readonly note = el('div', 'pr-note');
  private readonly copy = copyButton(
    'pr-link',
    () => t('copy {0}', this.command()),
    () => this.command(),
  );
  private shown = -1;
  private fetchedAt = 0;
  private isSettled = false;

  constructor(
    private readonly host: Host,
    showLog: (miniBatch: number) => void,
  ) {
    this.node.hidden = true;
    announceAs(this.node, t('Selected mini-batch'));
    const head = el('tr', '', ...COLUMNS.map((name) => el('th', '', t(name))));
    this.table = el('table', 'pr-tries', el('thead', '', head), this.body);
    this.items.tabIndex = 0;
    this.items.start = 0; // positions count from 0
    announceAs(this.items, t('Items'));
    const bar = el(
      'div',
      'pr-logbar',
      this.title,
      this.state,
      button('pr-link', t('log'), () => showLog(this.shown)),
      this.copy,
      button('pr-link', t('close'), () => this.close()),
    );
    this.node.append(bar, this.items, this.more, this.table, this.note);
  }

  /** Opens the section with a mini-batch. */
  show(miniBatch: number): void {
    this.shown = miniBatch;
    this.isSettled = false;
    this.items.replaceChildren();
    setText(this.title, t('Mini-batch {0}', count(miniBatch)));
    setText(this.state, '');
    setText(this.copy, t('copy {0}', this.command()));
    setText(this.more, '');
    setText(this.note, '');
    setHidden(this.table, true);
    setHidden(this.node, false);
    this.fetch();
    this.node.scrollIntoView({ block: 'nearest' });
  }

  draw({ snapshot }: RunOutput): void {
    const isDone = this.isSettled && snapshot.is_final;
    if (this.shown >= 0 && !isDone && Date.now() - this.fetchedAt > REFRESH_MS) {
      this.isSettled = snapshot.is_final;
      this.fetch();
    }
  }

  fetchAgain(): void {
    if (this.shown >= 0) {
      this.fetch();
    }
  }

  private command(): string {
    return `run.try_one(${this.shown})`;
  }

  private close(): void {
    this.shown = -1;
    setHidden(this.node, true);
  }

  private fetch(): void {
    const miniBatch = this.shown;
    this.fetchedAt = Date.now();
    this.host
      .miniBatch(miniBatch)
      .then((detail) => {
        if (miniBatch === this.shown) {
          this.fill(detail);
        }
      })
      .catch((error: unknown) => {
        if (miniBatch === this.shown) {
          setText(this.note, errorMessage(error));
        }
      });
  }

  private fill(detail: MiniBatchDetail): void {
    const worker = detail.worker ? ` ${t('on {0}', detail.worker)}` : '';
    setText(this.state, t(WORDS[detail.state] ?? detail.state) + worker + failedItems(detail));
    if (this.items.children.length !== detail.items.length) {
      this.items.replaceChildren(...detail.items.map((item) => el('li', '', stripAnsi(item))));
    }
    const hidden = detail.items_count - detail.items.length;
    setText(this.more, hidden > 0 ? t('and {0}', plural(hidden, 'other item')) : '');
    setHidden(this.items, detail.items.length === 0);
    this.body.replaceChildren(...detail.attempts.map(attemptRow));
    setHidden(this.table, detail.attempts.length === 0);
    setText(this.note, '');
  }
}

const WORDS: Readonly<Record<string, string>> = {
  left: 'left',
  succeeded: 'done',
  'partly failed': 'partly failed',
  failed: 'failed',
  retrying: 'to run again',
  running: 'running',
};

/** Returns the number of failed items of a mini-batch, and their positions. */
function failedItems({ items_failed: failed, failed_ranges: ranges }: MiniBatchDetail): string {
  if (!failed) {
    return '';
  }
  const shown = ranges.reduce((sum, [, size = 0]) => sum + size, 0);
  const others = failed > shown ? ` ${t('and {0}', plural(failed - shown, 'other item'))}` : '';
  return `: ${t('{0} failed', plural(failed, 'item'))} (${itemsText(ranges)}${others})`;
}

function attemptRow(row: AttemptRow): HTMLElement {
  const failed = row.items_failed ? `, ${t('{0} failed', plural(row.items_failed, 'item'))}` : '';
  const done = `✓ ${t('done')}, ${plural(row.rows, 'row')}${failed}`;
  const texts = [
    count(row.attempt),
    row.worker,
    row.ranges?.length ? itemsText(row.ranges) : t('all'),
    row.succeeded ? done : `✗ ${t('failed')}`,
    duration(row.at_s),
    duration(row.duration_s),
    stripAnsi([row.group, row.message].filter(Boolean).join(': ')),
  ];
  return el('tr', '', ...texts.map((text) => el('td', '', text)));
}
