import assert from 'node:assert/strict';
import { beforeEach, test } from 'node:test';
import { callNotes, usd } from '../src/model/calls';
import type { Calls, Snapshot } from '../src/model/wire';
import { CallFacts } from '../src/views/calls';
import { Notices } from '../src/views/notices';
import { calls, completed, output, snapshot } from './fixtures';
import { assertSame, show, texts, visibleText } from './page';

let facts: CallFacts;

beforeEach(() => {
  facts = new CallFacts();
  show(facts.node);
});

function shown(of: Partial<Calls>, run: Partial<Snapshot> = {}): string[] {
  facts.draw(output({ ...run, calls: calls(of) }));
  return texts(facts.node, 'div:not([hidden])');
}

function notes(of: Partial<Calls>, run: Partial<Snapshot> = {}, age = 0): string[] {
  return callNotes(snapshot({ ...run, calls: calls(of) }), age);
}

test('a run without such calls has no numbers of them, and so has an output of an earlier version', () => {
  facts.draw(output());
  assert.equal(facts.node.hidden, true);
  const earlier = { ...snapshot() } as Partial<Snapshot>;
  delete (earlier as { calls?: unknown }).calls;
  facts.draw({ ...output(), snapshot: earlier as Snapshot });
  assert.equal(facts.node.hidden, true);
  assert.deepEqual(callNotes(earlier as Snapshot, 0), []);
});

test('calls without limits wait for the server', () => {
  assert.deepEqual(shown({}), [
    'Calls in flight 48 / 50',
    'Call rate 4.9 calls/s',
    'Calls wait for server',
    'Latency 210 ms, 95 %: 480 ms',
    '429 or 503 0',
  ]);
  assert.equal(facts.node.hidden, false);
});

test('limits, tokens and costs stand beside the numbers', () => {
  const limits = { rate_limit_per_s: 5, token_limit_per_s: 1500, budget_usd: 20 };
  const spent = { tokens: 12_300, tokens_per_s: 1480, usd: 1.239, usd_per_item: 0.004156 };
  const expected = { forecast_low_usd: 4.8, forecast_high_usd: 5.1 };
  const now = { held_by: 'rate', throttled: 3 };
  assert.deepEqual(shown({ ...limits, ...spent, ...expected, ...now }), [
    'Calls in flight 48 / 50',
    'Call rate 4.9 / 5 calls/s',
    'Calls wait for rate limit',
    'Latency 210 ms, 95 %: 480 ms',
    '429 or 503 3',
    'Cost 1.24 / 20 USD',
    'Cost, forecast 4.80–5.10 USD',
    'Cost per item 0.0042 USD',
    'Tokens 12,300',
    'Token rate 1,480 / 1,500 tokens/s',
  ]);
});

test('a pause of the server is told apart from its limit, and both from its answers', () => {
  const of = (fields: Partial<Calls>) => shown(fields)[2];
  assert.equal(of({ held_by: 'server', held_until_s: 3 }), "Calls wait for server's pause");
  assert.equal(of({ held_by: 'server' }), "Calls wait for server's limit");
  assert.equal(of({}), 'Calls wait for server');
  assert.equal(of({ in_flight: 0 }), 'Calls wait for –');
});

test('a limit of minutes is shown in minutes', () => {
  const [, rate] = shown({ rate_per_s: 1.6, rate_limit_per_s: 100 / 60 });
  assert.equal(rate, 'Call rate 96 / 100 calls/min');
  const [, slow] = shown({ rate_per_s: 0.002, rate_limit_per_s: 10 / 3600 });
  assert.equal(slow, 'Call rate 7.2 / 10 calls/h');
});

test('an overloaded server lowers the calls in flight', () => {
  assert.equal(shown({ in_flight: 12, window: 12 })[0], 'Calls in flight 12 / 12');
  assert.deepEqual(notes({ window: 1 }), [
    'The server was overloaded: at most 1 call in flight for now.',
  ]);
});

test('a run that has ended has no calls in flight', () => {
  const ended = { in_flight: 0, waiting: 0, concurrency: 0 };
  const all = shown(ended, completed());
  assert.deepEqual(
    [all[0], all[1], all[2]],
    [...['Calls in flight –', 'Call rate 4.9 calls/s', 'Calls wait for –']],
  );
});

test('the same elements have the next numbers', () => {
  shown({ usd: 1 });
  const nodes = [...facts.node.querySelectorAll('*')];
  shown({ usd: 2, in_flight: 3 });
  assertSame(facts.node.querySelectorAll('*'), nodes);
});

test('a pause of the server counts down and ends', () => {
  const pause = { held_by: 'server', held_until_s: 12.4 };
  const words = 'The server asked for a pause (429 or 503): calls go on in';
  assert.deepEqual(notes(pause), [`${words} 13 s.`]);
  assert.deepEqual(notes(pause, {}, 4), [`${words} 9 s.`]);
  assert.deepEqual(notes({ ...pause, held_until_s: 75 }), [`${words} 1:15.`]);
  assert.deepEqual(notes(pause, {}, 13), []);
});

test('the share of the time that calls wait for a limit is told, in the past after the end', () => {
  const limits = { rate_limit_per_s: 5, token_limit_per_s: 1500 };
  const shares = { budget: 0.04, server: 0.06, rate: 0.639, tokens: 0.1 };
  const words = [
    'rate_limit = 5/s 63 % of the time.',
    'token_limit = 1,500/s 10 % of the time.',
    "the server's own limit 6 % of the time.",
  ];
  const told = notes({ ...limits, held_shares: shares });
  assert.deepEqual(told, [...words.map((rest) => `Calls wait for ${rest}`)]);
  const later = notes({ ...limits, held_shares: shares }, completed());
  assert.deepEqual(later, [...words.map((rest) => `Calls waited for ${rest}`)]);
});

test('a budget that holds calls back is told until the end', () => {
  const spent = { held_by: 'budget', budget_usd: 20, usd: 19.5 };
  assert.deepEqual(notes(spent), [
    'The budget of 20 USD is nearly spent: calls in flight may need the rest, and others wait.',
  ]);
  assert.deepEqual(notes({ ...spent, usd: 0.1 }), [
    'The budget of 20 USD allows few calls at once until their cost is known.',
  ]);
  // After the end, the headline has the reason, with the remedy.
  assert.deepEqual(notes(spent, { is_final: true, items_left: 1200 }), []);
});

test('the notices keep a sentence in its place while its numbers change', () => {
  const notices = new Notices(() => undefined);
  show(notices.node);
  const draw = (of: Partial<Calls>): void => notices.draw(output({ calls: calls(of) }), 0);
  const share = { held_shares: { rate: 0.5 }, rate_limit_per_s: 5 };
  draw({ ...share, held_by: 'server', held_until_s: 3 });
  const nodes = [...notices.node.querySelectorAll('*')];
  draw({ ...share, held_shares: { rate: 0.6 }, held_by: 'server', held_until_s: 2 });
  assertSame(notices.node.querySelectorAll('*'), nodes);
  assert.match(visibleText(notices.node), /calls go on in 2 s\. .*rate_limit = 5\/s 60 % of/);
  draw({});
  assert.equal(visibleText(notices.node), '');
});

test('amounts have cents, small ones two digits', () => {
  const amounts = [0, 20, 1234.5, 1.239, 0.5, 0.0042, 0.000012345].map(usd);
  assert.deepEqual(amounts, ['0', '20', '1,234.50', '1.24', '0.50', '0.0042', '0.000012']);
});
