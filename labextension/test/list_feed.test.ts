import assert from 'node:assert/strict';
import { afterEach, beforeEach, mock, test } from 'node:test';
import type { RunsClient } from '../src/lab/client';
import { ListFeed } from '../src/lab/list_feed';
import type { RunList } from '../src/model/wire';
import { row } from './fixtures';
import { setPageHidden, settle } from './page';

let answer: () => Promise<RunList>;
let polls: number;
let feed: ListFeed;

beforeEach(() => {
  mock.timers.enable({ apis: ['setTimeout'] });
  polls = 0;
  answer = async () => ({ runs: [], hidden: 0 });
  const list = (): Promise<RunList> => {
    polls += 1;
    return answer();
  };
  feed = new ListFeed({ list } as unknown as RunsClient);
});

afterEach(() => {
  setPageHidden(false);
  mock.timers.reset();
});

async function pollsIn(seconds: number): Promise<number> {
  const before = polls;
  for (let passed = 0; passed < seconds; passed += 1) {
    mock.timers.tick(1000);
    await settle();
  }
  return polls - before;
}

async function refresh(): Promise<void> {
  feed.refresh();
  mock.timers.tick(0);
  await settle();
}

test('the list is polled at the rate of the settings while it is visible', async () => {
  let isVisible = true;
  feed.addViewer(() => isVisible);
  await refresh();
  assert.equal(await pollsIn(60), 30);
  feed.refreshSeconds = 10;
  await refresh();
  assert.equal(await pollsIn(60), 6);
  feed.refreshSeconds = 0;
  await refresh();
  mock.timers.tick(999);
  assert.equal(polls, 39, 'at most one poll a second');
  isVisible = false;
  await refresh();
  assert.equal(await pollsIn(60), 2);
});

test('an invisible list is polled rarely, and more often while a run is active', async () => {
  await refresh();
  assert.equal(await pollsIn(60), 2);
  answer = async () => ({ runs: [row()], hidden: 0 });
  await refresh();
  assert.equal(await pollsIn(60), 12);
});

test('a hidden page does not poll until it is shown', async () => {
  await refresh();
  setPageHidden(true);
  assert.equal(await pollsIn(120), 0);
  setPageHidden(false);
  assert.equal(await pollsIn(1), 1);
});

test('active runs are the ones that were read and have not ended', async () => {
  answer = async () => ({
    runs: [
      ...[row({ run_id: 'a' }), row({ run_id: 'b', is_final: true, state: 'Completed' })],
      ...[row({ run_id: 'c', is_read: false }), row({ run_id: 'd', state: 'Interrupted' })],
      row({ run_id: 'e', state: 'Failed' }),
    ],
    hidden: 3,
  });
  await refresh();
  assert.deepEqual(
    feed.active.map(({ run_id }) => run_id),
    ['a', 'd'],
  );
});

test('viewers are notified of each response, also of an error; the last list is kept', async () => {
  const seen: [number | undefined, string][] = [];
  feed.changed.connect(() => seen.push([feed.latest?.runs.length, feed.problem]));
  answer = async () => ({ runs: [row()], hidden: 0 });
  await refresh();
  answer = () => Promise.reject(new Error('the server is down'));
  await refresh();
  answer = async () => ({ runs: [row(), row({ run_id: 'r2' })], hidden: 0 });
  await refresh();
  assert.deepEqual(seen, [
    [1, ''],
    [1, 'the server is down'],
    [2, ''],
  ]);
});

test('an action during a poll is followed by another poll at once', async () => {
  let respond = (_: RunList): void => undefined;
  answer = () => new Promise((resolve) => (respond = resolve));
  await refresh();
  await refresh();
  assert.equal(polls, 1);
  respond({ runs: [], hidden: 0 });
  await settle();
  mock.timers.tick(0);
  await settle();
  assert.equal(polls, 2);
});
