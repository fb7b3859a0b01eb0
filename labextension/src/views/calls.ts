import { forecast, latency, mostInFlight, rateOf, spent, usd, waitsFor } from '../model/calls';
import { count } from '../model/format';
import type { Calls, RunOutput } from '../model/wire';
import { t } from '../model/words';
import { el, setHidden, setText } from './dom';
import type { Section } from './section';

interface Fact {
  readonly name: string;
  /** Whether the calls have such a number at all. */
  has(calls: Calls): boolean;
  value(calls: Calls, isFinal: boolean): string;
}

const always = (): boolean => true;
const hasTokens = (calls: Calls): boolean => calls.tokens > 0 || calls.token_limit_per_s > 0;
const hasCost = (calls: Calls): boolean => calls.usd > 0 || calls.budget_usd !== null;

/** The first five are about calls, the others about what they spend. */
const FACTS: readonly Fact[] = [
  {
    name: 'Calls in flight',
    has: always,
    value: (calls, isFinal) =>
      isFinal ? '–' : `${count(calls.in_flight)} / ${count(mostInFlight(calls))}`,
  },
  {
    name: 'Call rate',
    has: always,
    value: (calls) => rateOf(calls.rate_per_s, calls.rate_limit_per_s, 'calls'),
  },
  {
    name: 'Calls wait for',
    has: always,
    value: (calls, isFinal) => (isFinal ? '–' : waitsFor(calls) || '–'),
  },
  { name: 'Latency', has: always, value: latency },
  { name: '429 or 503', has: always, value: (calls) => count(calls.throttled) },
  { name: 'Cost', has: hasCost, value: spent },
  { name: 'Cost, forecast', has: hasCost, value: forecast },
  {
    name: 'Cost per item',
    has: hasCost,
    value: ({ usd_per_item: each }) => (each === null ? '–' : `${usd(each)} USD`),
  },
  { name: 'Tokens', has: hasTokens, value: (calls) => count(calls.tokens) },
  {
    name: 'Token rate',
    has: hasTokens,
    value: (calls) => rateOf(calls.tokens_per_s, calls.token_limit_per_s, 'tokens'),
  },
];

/** The numbers of calls that wait for a server; runs without such calls have none. */
export class CallFacts implements Section {
  readonly node = el('dl', 'pr-facts pr-calls');
  private readonly cells = FACTS.map((fact) => {
    const value = el('dd');
    return { fact, value, node: el('div', '', el('dt', '', t(fact.name)), value) };
  });

  constructor() {
    this.node.append(...this.cells.map(({ node }) => node));
    this.node.hidden = true;
  }

  draw({ snapshot }: RunOutput): void {
    const calls = snapshot.calls ?? null; // outputs of earlier versions lack it
    setHidden(this.node, !calls);
    if (!calls) {
      return;
    }
    for (const { fact, value, node } of this.cells) {
      setHidden(node, !fact.has(calls));
      setText(value, fact.value(calls, snapshot.is_final));
    }
  }
}
