import assert from 'node:assert/strict';
import { beforeEach, test } from 'node:test';
import type { Snapshot } from '../src/model/wire';
import { Notices } from '../src/views/notices';
import { completed, output, snapshot } from './fixtures';
import { assertSame, click, find, show, visibleText } from './page';

let notices: Notices;
let opened: number[];

beforeEach(() => {
  opened = [];
  notices = new Notices((miniBatch) => opened.push(miniBatch));
  show(notices.node);
});

function shown(of: Partial<Snapshot>, age = 0): string {
  notices.draw({ ...output(), snapshot: snapshot(of) }, age);
  return visibleText(notices.node);
}

test('a run that is well has no notices', () => {
  assert.equal(shown({}), '');
});

test('copied duplicates are counted', () => {
  const line = 'the rows of items with the same content';
  assert.equal(shown({ duplicates_copied: 1200 }), `1,200 duplicates have ${line}`);
  assert.equal(shown({ duplicates_copied: 1 }), `1 duplicate has ${line}`);
  assert.equal(shown({ duplicates_copied: undefined as never }), '');
});

test('an update names the run whose rows it took, and counts the other items', () => {
  const reused = { run_id: '20260101-abc', items: 999_990, changed: 2, new: 8, gone: 3 };
  const words = '999,990 items taken from run 20260101-abc, 10 run: 8 new, 2 changed; 3 gone';
  assert.equal(shown({ reused, items: 1_000_000 }), words);
  const none = { ...reused, items: 1, changed: 0, new: 0, gone: 0 };
  assert.equal(shown({ reused: none, items: 1 }), '1 item taken from run 20260101-abc, 0 run');
  assert.equal(
    shown({ reused: none, items: 4 }),
    '1 item taken from run 20260101-abc, 3 run: 3 without a row there',
  );
});

test('the job of a service has its state, its age and a link to its page', () => {
  const url = 'https://ml.azure.com/runs/digits-1';
  const job = { name: 'digits-1', status: 'Queued', detail: '', url, since_s: 5 };
  const link = 'Open in Azure ML studio';
  assert.equal(shown({ job }, 3), `Azure ML job digits-1: Queued for 8 s ${link}`);
  assert.equal(find(notices.node, 'a').getAttribute('href'), url);
  const running = { ...job, status: 'Running', detail: '2 nodes' };
  assert.equal(shown({ job: running }), `Azure ML job digits-1: Running for 5 s (2 nodes) ${link}`);
  const ended = completed({ job: { ...job, status: 'Completed' } });
  const canceled = { ...job, status: 'Canceled', detail: '' };
  assert.equal(shown({ job: canceled }), `Azure ML job digits-1: Canceled ${link}`);
  assert.equal(shown(ended, 9), `Azure ML job digits-1: Completed ${link}`);
  const upload = {
    name: '',
    status: 'Uploading',
    detail: '',
    url: 'javascript:alert(1)',
    since_s: 1,
  };
  assert.equal(shown({ job: upload }), 'Azure ML: Uploading for 1 s');
  assert.equal(shown({ job: undefined as never }), '');
});

test('a limit of items in a call is shown', () => {
  assert.equal(
    shown({ items_per_call: 25 }),
    'run() receives at most 25 items: more do not fit into memory',
  );
});

test('outputs of earlier versions have no such notices', () => {
  assert.equal(shown({ reused: undefined as never, items_per_call: undefined as never }), '');
});

test('a stall is shown once it is longer than usual, also between snapshots', () => {
  assert.equal(shown({ quiet_s: 9 }), '');
  assert.equal(shown({ quiet_s: 9 }, 3), '! no progress for 12 s');
  assert.equal(shown(completed({ quiet_s: 500 })), '');
});

test('slow mini-batches have links and running times', () => {
  const stragglers = [
    { worker: 'n0w0', mini_batch: 1151, for_s: 40 },
    { worker: 'n0w3', mini_batch: 7, for_s: 20 },
  ];
  assert.equal(
    shown({ stragglers }, 2),
    '! much slower than the others: mini-batch 1,151 on n0w0 for 42 s , 7 on n0w3 for 22 s',
  );
  click(notices.node, '1,151');
  assert.deepEqual(opened, [1151]);
  const button = find(notices.node, 'button');
  shown({ stragglers }, 3);
  assertSame([find(notices.node, 'button')], [button]); // it may have the focus
  assert.match(shown({ stragglers: stragglers.slice(1) }), /mini-batch 7 on n0w3 for 20 s$/);
  assert.equal(shown(completed({ stragglers })), '');
});

test('a budget is shown once something failed, and stands out when it is exceeded', () => {
  const budget = { limit: 'error_threshold', noun: 'item', used: 0, allowed: 10 };
  assert.equal(shown({ budgets: [budget] }), '');
  assert.equal(
    shown({ budgets: [{ ...budget, used: 3 }] }),
    '3 of 10 allowed failed items used (error_threshold)',
  );
  assert.equal(notices.node.querySelectorAll('.pr-alarm').length, 0);
  shown({ budgets: [{ ...budget, used: 11 }] });
  assert.equal(notices.node.querySelectorAll('.pr-alarm').length, 1);
  assert.equal(
    shown({ budgets: [{ ...budget, used: 1, allowed: 0 }] }),
    'no items may fail: 1 failed (error_threshold)',
  );
});
