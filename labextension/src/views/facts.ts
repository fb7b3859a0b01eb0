import { clock, count, duration, rate, span } from '../model/format';
import type { RunOutput, Snapshot } from '../model/wire';
import { t } from '../model/words';
import { doneOf } from './bar';
import { el, setText } from './dom';
import type { Section } from './section';

const NAMES = ['Items', 'Mini-batches', 'Items failed', 'Rate', 'Elapsed', 'Time left'] as const;
type Name = (typeof NAMES)[number];

/** The numbers of the run, each below its name, at fixed positions. */
export class Facts implements Section {
  readonly node = el('dl', 'pr-facts');
  private readonly values: Record<Name, HTMLElement>;
  private readonly rateName: HTMLElement;

  constructor() {
    const cells = NAMES.map((name) => [name, el('dd')] as const);
    const names = cells.map(([name]) => el('dt', '', t(name)));
    cells.forEach(([, value], index) => {
      this.node.append(el('div', '', names[index] ?? '', value));
    });
    this.rateName = names[NAMES.indexOf('Rate')] ?? el('dt');
    this.values = Object.fromEntries(cells) as Record<Name, HTMLElement>;
  }

  draw({ snapshot }: RunOutput, age: number): void {
    const total = (value: number): string =>
      snapshot.plan_finished ? ` / ${count(value)}` : ` / ${t('{0} so far', count(value))}`;
    const items = snapshot.items - snapshot.items_left;
    const batches = doneOf(snapshot);
    const isFinal = snapshot.is_final;
    this.set('Items', count(items) + total(snapshot.items));
    this.set('Mini-batches', count(batches) + total(snapshot.mini_batches));
    this.set('Items failed', count(snapshot.items_failed));
    this.set('Rate', rate(snapshot.items_per_s));
    const window = Math.round(snapshot.rate_window_s);
    const name = isFinal || window < 1 ? t('Rate') : t('Rate, last {0} s', window);
    setText(this.rateName, name);
    this.set('Elapsed', isFinal ? duration(snapshot.elapsed_s) : clock(snapshot.elapsed_s + age));
    this.set('Time left', timeLeft(snapshot, age));
    this.values['Items failed'].classList.toggle('pr-alarm', snapshot.items_failed > 0);
  }

  private set(name: Name, text: string): void {
    setText(this.values[name], text);
  }
}

function timeLeft({ is_final, eta_low_s: low, eta_high_s: high }: Snapshot, age: number): string {
  return is_final || low === null || high === null ? '–' : span(low - age, high - age);
}
