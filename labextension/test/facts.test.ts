import assert from 'node:assert/strict';
import { beforeEach, test } from 'node:test';
import type { Snapshot } from '../src/model/wire';
import { Facts } from '../src/views/facts';
import { completed, output, snapshot } from './fixtures';
import { assertSame, texts } from './page';

let facts: Facts;

beforeEach(() => {
  facts = new Facts();
});

function shown(of: Partial<Snapshot> = {}, age = 0): string[] {
  facts.draw({ ...output(), snapshot: snapshot(of) }, age);
  return texts(facts.node, 'div');
}

test('each number has its name', () => {
  assert.deepEqual(shown(), [
    'Items 400 / 1,000',
    'Mini-batches 40 / 100',
    'Items failed 0',
    'Rate, last 10 s 10 items/s',
    'Elapsed 1:00',
    'Time left 30–50 s',
  ]);
});

test('while the inputs are being listed, totals are provisional', () => {
  const [items, batches] = shown({ plan_finished: false });
  assert.deepEqual(
    [items, batches],
    [...['Items 400 / 1,000 so far', 'Mini-batches 40 / 100 so far']],
  );
});

test('the clock and the time left advance with the age of the snapshot', () => {
  const texts = shown({ elapsed_s: 58.2 }, 10);
  assert.deepEqual(texts.slice(4), ['Elapsed 1:08', 'Time left 20–40 s']);
  assert.equal(shown({}, 45).at(-1), 'Time left 0–5 s');
});

test('failed mini-batches count as finished, and failed items stand out', () => {
  const texts = shown({ failed: 3, items_failed: 30 });
  assert.deepEqual(texts.slice(1, 3), ['Mini-batches 43 / 100', 'Items failed 30']);
  assert.equal(facts.node.querySelector('.pr-alarm')?.textContent, '30');
  shown({ items_failed: 0 });
  assert.equal(facts.node.querySelectorAll('.pr-alarm').length, 0);
});

test('an ended run has an exact duration, and no time left', () => {
  assert.deepEqual(shown(completed({ elapsed_s: 9.84 }), 10).slice(3), [
    ...['Rate 10 items/s', 'Elapsed 9.8 s', 'Time left –'],
  ]);
});

test('without an estimate there is no time left, and without progress no rate', () => {
  const texts = shown({ eta_low_s: null, eta_high_s: null, items_per_s: 0, rate_window_s: 0.4 });
  assert.deepEqual([texts[3], texts[5]], ['Rate –', 'Time left –']);
});

test('the numbers stay in the same places', () => {
  shown();
  const nodes = [...facts.node.querySelectorAll('*')];
  shown({ succeeded: 90, items_failed: 5 });
  assertSame(facts.node.querySelectorAll('*'), nodes);
});
