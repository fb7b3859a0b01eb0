import { clock, count, duration, rate } from '../model/format';
import type { RunOutput } from '../model/wire';
import { el, setText } from './dom';
import type { Part } from './part';

const NAMES = ['Items', 'Mini-batches', 'Items failed', 'Rate', 'Elapsed', 'Time left'] as const;
type Name = (typeof NAMES)[number];

/** The numbers, each under its name, in places that do not move. */
export class Facts implements Part {
  readonly node = el('dl', 'pr-facts');
  private readonly values: Record<Name, HTMLElement>;

  constructor() {
    const cells = NAMES.map((name) => [name, el('dd')] as const);
    for (const [name, value] of cells) {
      this.node.append(el('div', '', el('dt', '', name), value));
    }
    this.values = Object.fromEntries(cells) as Record<Name, HTMLElement>;
  }

  draw({ snapshot }: RunOutput, age: number): void {
    const total = (value: number): string =>
      snapshot.plan_finished ? ` / ${count(value)}` : ` / ${count(value)} so far`;
    const items = snapshot.items - snapshot.items_left;
    const batches = snapshot.succeeded + snapshot.failed;
    const isOver = snapshot.is_final;
    this.set('Items', count(items) + total(snapshot.items));
    this.set('Mini-batches', count(batches) + total(snapshot.mini_batches));
    this.set('Items failed', count(snapshot.items_failed));
    this.set('Rate', rate(snapshot.items_per_s));
    this.set('Elapsed', isOver ? duration(snapshot.elapsed_s) : clock(snapshot.elapsed_s + age));
    const eta = snapshot.eta_s;
    this.set('Time left', isOver || eta === null ? '–' : `~ ${clock(Math.max(0, eta - age))}`);
    this.values['Items failed'].classList.toggle('pr-alarm', snapshot.items_failed > 0);
  }

  private set(name: Name, text: string): void {
    setText(this.values[name], text);
  }
}
