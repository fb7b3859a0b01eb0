import assert from 'node:assert/strict';
import { afterEach, beforeEach, mock, test } from 'node:test';
import type { FailureRow, Snapshot } from '../src/model/wire';
import { RunActions } from '../src/views/actions';
import { Failures } from '../src/views/failures';
import { completed, EVIL, EVIL_AS_TEXT, FakeHost, group, output, snapshot } from './fixtures';
import { assertSame, click, find, settle, show, texts, visibleText } from './page';

let host: FakeHost;
let failures: Failures;
let opened: number[];

beforeEach(() => {
  mock.timers.enable({ apis: ['setTimeout', 'Date'], now: 1e12 });
  host = new FakeHost();
  opened = [];
  failures = new Failures(host, (miniBatch) => opened.push(miniBatch), new RunActions(host));
  show(failures.node);
});

afterEach(() => mock.timers.reset());

function draw(of: Partial<Snapshot>): void {
  failures.draw(output(of));
}

function attempt(fields: Partial<FailureRow> = {}): FailureRow {
  return {
    ...{ mini_batch: 13, attempt: 3, worker: 'n0w1', kind: 'error', error: 'ValueError' },
    ...{ message: 'bad image', items: 10, is_last: true },
    ...fields,
  };
}

test('a run without failures has no failures section', () => {
  draw({});
  assert.equal(failures.node.hidden, true);
});

test('a group names its place, message, attempts and losses', () => {
  draw({ groups: [group({ first_mini_batch: 1234 })] });
  assert.equal(
    visibleText(find(failures.node, 'summary')),
    '✗ ValueError at score.py:10 in run bad image ' +
      '3 attempts, 10 items without a result, 1 mini-batch lost, first in mini-batch 1,234',
  );
  draw({ groups: [group({ items_missing: 0 })] });
  assert.match(visibleText(failures.node), /3 attempts, 10 items failed, 1 mini-batch lost, first/);
  draw({ groups: [group({ items_failed: 12, mini_batches_lost: 0 })] });
  assert.match(visibleText(failures.node), /, 2 items failed, 10 items without a result, first/);
  const retried = { items_failed: 0, items_missing: 0, mini_batches_lost: 0, attempts: 1 };
  draw({ groups: [group(retried)] });
  assert.match(visibleText(failures.node), /1 attempt, retried, first/);
  draw({ groups: [group({ ...retried, kind: 'throttled', attempts: 80 })] });
  const refused = /^↻ .* 80 calls refused and tried again, first in mini-batch/;
  assert.match(visibleText(failures.node), refused);
  draw({ groups: [group({ ...retried, kind: 'throttled', items_failed: 1 })] });
  assert.match(visibleText(failures.node), /^✗ .* 1 item failed, first/);
  draw({ groups: [group({ first_mini_batch: -1, attempts: 2 })] });
  assert.match(visibleText(failures.node), /2 attempts to start a worker/);
});

test('user text is only text: in groups, hints, tracebacks, attempts and warnings', async () => {
  host.failed = (name) => ({
    ...{ group: name, traceback: `Traceback\n${EVIL}`, attempts: 1 },
    rows: [attempt({ message: EVIL })],
  });
  draw({ groups: [group({ group: EVIL, message: EVIL, hint: EVIL })], warnings: [EVIL] });
  find<HTMLDetailsElement>(failures.node, 'details').open = true;
  await settle();
  assert.equal(failures.node.querySelectorAll('img, script').length, 0);
  assert.equal(visibleText(failures.node).split(EVIL_AS_TEXT).length - 1, 6);
  // biome-ignore lint/suspicious/noControlCharactersInRegex: these must not occur
  assert.doesNotMatch(visibleText(failures.node), /[\x00-\x1f\u202e]/);
});

test('a closed group asks for nothing; an open one shows its attempts', async () => {
  draw({ groups: [group()] });
  await settle();
  assert.deepEqual(host.calls, []);
  host.failed = (name) => ({
    ...{ group: name, traceback: 'Traceback:\n  line 10\n', attempts: 9 },
    rows: [attempt(), attempt({ attempt: 2, is_last: false }), attempt({ kind: 'short_result' })],
  });
  find<HTMLDetailsElement>(failures.node, 'details').open = true;
  await settle();
  assert.equal(find(failures.node, 'pre').textContent, 'Traceback:\n  line 10');
  assert.deepEqual(texts(failures.node, 'tbody td:nth-child(2)'), ['3, failed for good', '2', '3']);
  assert.match(visibleText(failures.node), /and 6 other attempts: run.failures\(\) shows all/);
  click(find(failures.node, 'tbody'), '13');
  assert.deepEqual(opened, [13]);
});

test('an open group asks again when attempts were added, at most every two seconds', async () => {
  draw({ groups: [group()] });
  find<HTMLDetailsElement>(failures.node, 'details').open = true;
  await settle();
  const asked = host.calls.length;
  mock.timers.tick(1999);
  draw({ groups: [group({ attempts: 4 })] });
  await settle();
  assert.equal(host.calls.length, asked);
  mock.timers.tick(2);
  draw({ groups: [group({ attempts: 4 })] });
  draw({ groups: [group({ attempts: 4 })] });
  await settle();
  assert.equal(host.calls.length, asked + 1);
});

test('an error is shown in place of the attempts', async () => {
  draw({ groups: [group()] });
  host.error = new Error('the kernel is gone');
  find<HTMLDetailsElement>(failures.node, 'details').open = true;
  await settle();
  assert.match(visibleText(failures.node), /the kernel is gone/);
});

test('groups and warnings are patched in place, and vanish when they are gone', () => {
  const [first, second] = [group(), group({ group: 'KeyError at score.py:20 in run' })];
  draw({ groups: [first, second], warnings: ['slow disk'] });
  const nodes = [...failures.node.querySelectorAll('details')];
  const warning = find(failures.node, '.pr-warning');
  draw({ groups: [second, { ...first, attempts: 5 }], warnings: ['slow disk', 'slow network'] });
  assertSame(failures.node.querySelectorAll('details'), nodes.reverse());
  assertSame([find(failures.node, '.pr-warning')], [warning]);
  assert.match(visibleText(nodes[1] as Element), /5 attempts/);
  draw({ groups: [second] });
  assert.equal(failures.node.querySelectorAll('details').length, 1);
  assert.equal(failures.node.querySelectorAll('.pr-warning').length, 0);
});

test('the first group opens when the run fails, once', () => {
  draw({ groups: [group(), group({ group: 'KeyError' })] });
  const node = find<HTMLDetailsElement>(failures.node, 'details');
  assert.equal(node.open, false);
  draw({ state: 'Failed', is_final: true, groups: [group(), group({ group: 'KeyError' })] });
  assert.equal(node.open, true);
  node.open = false;
  draw({ state: 'Failed', is_final: true, groups: [group(), group({ group: 'KeyError' })] });
  assert.equal(node.open, false);
});

test('hidden groups are counted', () => {
  draw({ groups: [group()], groups_hidden: 3 });
  assert.match(
    visibleText(failures.node),
    /and 3 other kinds of failure: run.failures\(\) shows all/,
  );
});

test('a retry is offered once the run has ended, for all failures and for each group', async () => {
  draw({ items_lost: 13, groups: [group()] });
  assert.doesNotMatch(visibleText(failures.node), /again/);
  const end = completed({
    items_lost: 13,
    groups: [
      group({ items_failed: 12, items_missing: 0 }),
      group({ group: 'KeyError', items_failed: 11 }),
      group({ group: 'short' }),
    ],
  });
  draw(end);
  const groups = [...failures.node.querySelectorAll<HTMLDetailsElement>('details')];
  for (const node of groups) {
    node.open = true;
  }
  click(failures.node, 'Run these 12 items again');
  await settle();
  assert.deepEqual(
    host.calls.filter((call) => call.startsWith('resume')),
    ['resume failed ValueError at score.py:10 in run'],
  );
  assert.match(visibleText(groups[1] as Element), /Run this item again/);
  assert.doesNotMatch(visibleText(groups[2] as Element), /again/);
  assert.match(visibleText(failures.node), /Run the 13 failed items again/);
});

test('no retry is offered if it would be refused, or from a page that is read-only', () => {
  draw(completed({ items_lost: 2, can_resume: false, groups: [group()] }));
  assert.doesNotMatch(visibleText(failures.node), /again/);
  const past = new Failures(host, () => undefined, null);
  past.draw(output(completed({ items_lost: 2, groups: [group()] })));
  assert.doesNotMatch(visibleText(past.node), /again/);
});

test('outputs of earlier versions, without hints and counts of items, are drawn', () => {
  const { can_resume: _, items_lost: __, ...old } = snapshot(completed({ items_failed: 1 }));
  const { hint: ___, items_failed: ____, ...oldGroup } = group();
  const missing = { can_resume: undefined as never, items_lost: undefined as never };
  draw({ ...old, groups: [oldGroup as ReturnType<typeof group>], ...missing });
  assert.match(visibleText(failures.node), /ValueError/);
  assert.match(visibleText(failures.node), /Run the 1 failed item again/);
});
