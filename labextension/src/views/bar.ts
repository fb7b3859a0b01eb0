import { count, percent } from '../model/format';
import type { RunOutput, Snapshot } from '../model/wire';
import { t } from '../model/words';
import { announceAs, el, setHidden, setText } from './dom';
import type { Section } from './section';

interface Kind {
  readonly name: string;
  readonly glyph: string;
  readonly words: string;
  readonly always: boolean;
  value(snapshot: Snapshot): number;
}

/** Each color has a glyph or a hatch as well, for readers who cannot tell the colors apart. */
const KINDS: readonly Kind[] = [
  { name: 'done', glyph: '✓', words: 'done', always: true, value: (s) => doneOf(s) - s.failed },
  { name: 'failed', glyph: '✗', words: 'failed', always: true, value: (s) => s.failed },
  { name: 'running', glyph: '▶', words: 'running', always: true, value: (s) => s.running },
  {
    name: 'left',
    glyph: '○',
    words: 'left',
    always: true,
    value: (s) => Math.max(0, s.left - s.running - toRetry(s)),
  },
  { name: 'retrying', glyph: '↻', words: 'to run again', always: false, value: toRetry },
];

/** Returns the mini-batches that are done, with those that a service has only counted. */
export function doneOf(snapshot: Snapshot): number {
  const { mini_batches, left, succeeded, failed } = snapshot;
  return Math.max(succeeded + failed, mini_batches - left);
}

/** Returns the mini-batches that will run again: none after the end of the run. */
function toRetry(snapshot: Snapshot): number {
  return snapshot.is_final ? 0 : snapshot.retrying;
}

/** The progress bar of mini-batches, and its legend. */
export class Bar implements Section {
  readonly node: HTMLElement;
  private readonly track = el('div', 'pr-bar');
  private readonly share = el('span', 'pr-share');
  private readonly segments = KINDS.map((kind) => ({
    kind,
    fill: el('span', `pr-fill pr-${kind.name}`),
    value: el('b'),
    label: el('span', `pr-key pr-key-${kind.name}`),
  }));

  constructor() {
    announceAs(this.track, t('Mini-batches done'), 'progressbar');
    const legend = el('div', 'pr-legend');
    for (const { kind, fill, value, label } of this.segments) {
      const glyph = el('i', '', kind.glyph);
      glyph.setAttribute('aria-hidden', 'true');
      label.append(glyph, value, ` ${t(kind.words)}`);
      legend.append(label);
      if (kind.name !== 'left') {
        this.track.append(fill);
      }
    }
    this.node = el('div', 'pr-progress', el('div', 'pr-track', this.track, this.share), legend);
  }

  draw({ snapshot }: RunOutput): void {
    const total = snapshot.mini_batches;
    const done = doneOf(snapshot);
    const isKnown = snapshot.plan_finished;
    this.track.classList.toggle('pr-listing', !isKnown && !snapshot.is_final);
    for (const { kind, fill, value, label } of this.segments) {
      const amount = kind.value(snapshot);
      const width = isKnown && total > 0 ? `${((100 * amount) / total).toFixed(3)}%` : '0';
      if (fill.style.width !== width) {
        fill.style.width = width;
      }
      setText(value, count(amount));
      // Of items alone, the count is below: "0 failed" would contradict it.
      const isOfItems = kind.name === 'failed' && snapshot.items_failed > 0;
      setHidden(label, amount === 0 && (!kind.always || isOfItems));
      label.classList.toggle('pr-none', amount === 0);
    }
    // Of a mini-batch, some items may be done: the share is that of the items, as in the text views.
    const share = percent(snapshot.items - snapshot.items_left, snapshot.items);
    this.describe(isKnown ? share : null, done, snapshot);
  }

  private describe(share: number | null, done: number, snapshot: Snapshot): void {
    const isFull = snapshot.state === 'Completed' && snapshot.mini_batches === 0;
    setText(this.share, share === null ? t('listing') : `${isFull ? 100 : share} %`);
    const batches = t('{0} of {1} mini-batches', count(done), count(snapshot.mini_batches));
    const failed = snapshot.failed ? `, ${t('{0} failed', count(snapshot.failed))}` : '';
    if (share === null) {
      this.track.removeAttribute('aria-valuenow');
      this.track.setAttribute(
        'aria-valuetext',
        t('listing the inputs, {0} so far', batches) + failed,
      );
    } else {
      this.track.setAttribute('aria-valuenow', String(share));
      this.track.setAttribute('aria-valuetext', `${t('{0} percent', share)}, ${batches}${failed}`);
    }
  }
}
