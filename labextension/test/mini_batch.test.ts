import assert from 'node:assert/strict';
import { afterEach, beforeEach, mock, test } from 'node:test';
import type { MiniBatchDetail } from '../src/model/wire';
import { MiniBatchView } from '../src/views/mini_batch';
import { completed, EVIL, EVIL_AS_TEXT, FakeHost, output } from './fixtures';
import { settle, show, texts, visibleText } from './page';

let host: FakeHost;
let view: MiniBatchView;
let detail: Partial<MiniBatchDetail>;

beforeEach(() => {
  mock.timers.enable({ apis: ['Date'], now: 1e12 });
  host = new FakeHost();
  detail = {};
  const { miniBatch } = host;
  host.miniBatch = async (number) => ({ ...(await miniBatch.call(host, number)), ...detail });
  view = new MiniBatchView(host, () => undefined);
  show(view.node);
});

afterEach(() => mock.timers.reset());

test('a mini-batch shows its items and attempts, as text', async () => {
  detail = {
    ...{ state: 'retrying' as MiniBatchDetail['state'], worker: 'n0w1' },
    ...{ items: ['a.png', EVIL], items_count: 12 },
    attempts: [
      {
        ...{ attempt: 1, worker: 'n0w0', succeeded: false, at_s: 65, duration_s: 2.5, rows: 0 },
        ...{ ranges: [], items_failed: 12, group: 'ValueError at score.py:10', message: EVIL },
      },
      {
        ...{ attempt: 2, worker: 'n0w1', succeeded: true, at_s: 70, duration_s: 1, rows: 1 },
        ...{ ranges: [], items_failed: 0, group: '', message: '' },
      },
    ],
  };
  view.show(1234);
  assert.match(visibleText(view.node), /^Mini-batch 1,234/);
  await settle();
  assert.match(visibleText(view.node), /to run again on n0w1/);
  assert.deepEqual(texts(view.node, 'li'), ['a.png', EVIL_AS_TEXT]);
  assert.match(visibleText(view.node), /and 10 other items/);
  assert.deepEqual(texts(view.node, 'tbody tr'), [
    `1 n0w0 all ✗ failed 1:05 2.5 s ValueError at score.py:10: ${EVIL_AS_TEXT}`,
    '2 n0w1 all ✓ done, 1 row 1:10 1.0 s',
  ]);
});

test('a mini-batch that failed in part names its failed items, from position 0', async () => {
  detail = {
    state: 'partly failed' as MiniBatchDetail['state'],
    ...{ items: ['a.png', 'b.png'], items_count: 30, items_failed: 7 },
    failed_ranges: [
      [3, 3],
      [1200, 1],
    ],
    attempts: [
      {
        ...{ attempt: 4, worker: 'n0w0', succeeded: false, at_s: 1, duration_s: 1, rows: 0 },
        ...{ ranges: [[17, 1]], items_failed: 1, group: 'ValueError', message: '' },
      },
      {
        ...{ attempt: 5, worker: 'n0w0', succeeded: true, at_s: 1, duration_s: 1, rows: 8 },
        ...{
          ranges: [
            [3, 3],
            [9, 1],
          ],
          items_failed: 2,
          group: '',
          message: '',
        },
      },
    ],
  };
  view.show(7);
  await settle();
  const parts = /partly failed: 7 items failed \(items 3 to 5, 1,200 and 3 other items\)/;
  assert.match(visibleText(view.node), parts);
  assert.equal(view.node.querySelector('ol')?.start, 0);
  assert.deepEqual(texts(view.node, 'tbody td:nth-child(3)'), ['item 17', 'items 3 to 5, 9']);
  assert.deepEqual(texts(view.node, 'tbody td:nth-child(4)'), [
    '✗ failed',
    '✓ done, 8 rows, 2 items failed',
  ]);
});

test('only an open mini-batch is refreshed, every two seconds, and once after the end', async () => {
  view.draw(output());
  assert.deepEqual(host.calls, []);
  view.show(7);
  view.draw(output());
  assert.equal(host.calls.length, 1);
  mock.timers.tick(2001);
  view.draw(output());
  assert.equal(host.calls.length, 2);
  for (let round = 0; round < 3; round += 1) {
    mock.timers.tick(2001);
    view.draw({ ...output(), snapshot: completed() });
  }
  assert.equal(host.calls.length, 3);
});

test('an error or answer of another mini-batch does not show up', async () => {
  host.error = new Error('no answer');
  view.show(7);
  host.error = null;
  view.show(8);
  await settle();
  assert.doesNotMatch(visibleText(view.node), /no answer/);
  host.error = new Error('no answer');
  view.show(9);
  await settle();
  assert.match(visibleText(view.node), /no answer/);
  host.error = null;
  view.show(10);
  assert.doesNotMatch(visibleText(view.node), /no answer/);
});
