import { plain } from '../model/ansi';
import { count, duration, plural } from '../model/format';
import { type Host, sentence } from '../model/host';
import type { AttemptRow, MiniBatchDetail, RunOutput } from '../model/wire';
import { t } from '../model/words';
import { copyButton } from './copy';
import { button, el, setHidden, setText } from './dom';
import type { Part } from './part';

const EVERY_MS = 2000;
const COLUMNS = ['Attempt', 'Worker', 'Became', 'At', 'Took', 'Message'] as const;

/** One mini-batch: its items, its attempts, its log, and the line that tries it here. */
export class Detail implements Part {
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
    () => t('copy {0}', this.line()),
    () => this.line(),
  );
  private shown = -1;
  private askedAt = 0;
  private isSettled = false;

  constructor(
    private readonly host: Host,
    showLog: (miniBatch: number) => void,
  ) {
    this.node.hidden = true;
    this.node.setAttribute('aria-label', t('One mini-batch'));
    const head = el('tr', '', ...COLUMNS.map((name) => el('th', '', t(name))));
    this.table = el('table', 'pr-tries', el('thead', '', head), this.body);
    this.items.tabIndex = 0;
    this.items.setAttribute('aria-label', t('Its items'));
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

  /** Shows a mini-batch. */
  show(miniBatch: number): void {
    this.shown = miniBatch;
    this.isSettled = false;
    this.items.replaceChildren();
    setText(this.title, t('Mini-batch {0}', count(miniBatch)));
    setText(this.state, '');
    setText(this.copy, t('copy {0}', this.line()));
    setText(this.more, '');
    setHidden(this.table, true);
    setHidden(this.node, false);
    this.ask();
    this.node.scrollIntoView({ block: 'nearest' });
  }

  draw({ snapshot }: RunOutput): void {
    const isOver = this.isSettled && snapshot.is_final;
    if (this.shown >= 0 && !isOver && Date.now() - this.askedAt > EVERY_MS) {
      this.isSettled = snapshot.is_final;
      this.ask();
    }
  }

  private line(): string {
    return `run.try_one(${this.shown})`;
  }

  private close(): void {
    this.shown = -1;
    setHidden(this.node, true);
  }

  private ask(): void {
    const asked = this.shown;
    this.askedAt = Date.now();
    this.host
      .miniBatch(asked)
      .then((detail) => {
        if (asked === this.shown) {
          this.fill(detail);
        }
      })
      .catch((error: unknown) => setText(this.note, sentence(error)));
  }

  private fill(detail: MiniBatchDetail): void {
    const where = detail.worker ? ` ${t('on {0}', detail.worker)}` : '';
    setText(this.state, t(WORDS[detail.state] ?? detail.state) + where);
    if (this.items.children.length !== detail.items.length) {
      this.items.replaceChildren(...detail.items.map((item) => el('li', '', plain(item))));
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
  failed: 'failed',
  retrying: 'to retry',
  running: 'running',
};

function attemptRow(row: AttemptRow): HTMLElement {
  const texts = [
    count(row.attempt),
    row.worker,
    row.succeeded ? `✓ ${t('done')}, ${plural(row.rows, 'row')}` : `✗ ${t('failed')}`,
    duration(row.at_s),
    duration(row.duration_s),
    plain([row.group, row.message].filter(Boolean).join(': ')),
  ];
  return el('tr', '', ...texts.map((text) => el('td', '', text)));
}
