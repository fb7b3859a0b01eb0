import assert from 'node:assert/strict';
import { afterEach, beforeEach, mock, test } from 'node:test';
import { RunNotFound, type RunsClient } from '../src/lab/client';
import { LiveRuns, type Watcher } from '../src/lab/live_run';
import type { RunOutput } from '../src/model/wire';
import { completed, output } from './fixtures';
import { setPageHidden, settle } from './page';

class View implements Watcher {
  onScreen = true;
  readonly drawn: RunOutput[] = [];
  problem = '';
  missing = 0;

  isOnScreen(): boolean {
    return this.onScreen;
  }

  draw(shown: RunOutput): void {
    this.drawn.push(shown);
  }

  showProblem(problem: string): void {
    this.problem = problem;
  }

  onMissing(): void {
    this.missing += 1;
  }
}

let versions: string[];
let answer: () => Promise<RunOutput | null>;
let runs: LiveRuns;
let leaves: (() => void)[];

beforeEach(() => {
  mock.timers.enable({ apis: ['setTimeout'] });
  versions = [];
  leaves = [];
  answer = async () => output();
  const client = {
    snapshot: async (_runId: string, version: string) => {
      versions.push(version);
      return { output: await answer(), version: `v${versions.length}` };
    },
  };
  runs = new LiveRuns(client as unknown as RunsClient);
});

afterEach(() => {
  for (const leave of leaves) {
    leave();
  }
  setPageHidden(false);
  mock.timers.reset();
});

function watch(view: View): () => void {
  const leave = runs.get('r1').add(view);
  leaves.push(leave);
  return leave;
}

async function pass(ms: number): Promise<void> {
  for (let passed = 0; passed < ms; passed += 100) {
    mock.timers.tick(100);
    await settle();
  }
}

/** Returns the number of polls in a minute. */
async function pollsPerMinute(): Promise<number> {
  const before = versions.length;
  await pass(60_000);
  return versions.length - before;
}

test('all views of a run share one poll, which sends the last version', async () => {
  const [first, second] = [new View(), new View()];
  watch(first);
  watch(second);
  await pass(900);
  assert.equal(versions.length, 3);
  assert.deepEqual(versions, ['', 'v1', 'v2']);
  assert.equal(first.drawn.length, 3);
  assert.equal(second.drawn.length, 3);
});

test('an unchanged run is not drawn again, and a later view gets the last state', async () => {
  const [first, second] = [new View(), new View()];
  watch(first);
  await pass(100);
  answer = async () => null;
  await pass(2000);
  assert.equal(first.drawn.length, 1);
  watch(second);
  assert.equal(second.drawn.length, 1);
});

test('a run off screen is polled rarely, and at once when it comes into view', async () => {
  const view = new View();
  watch(view);
  const live = await pollsPerMinute();
  view.onScreen = false;
  await pass(400);
  const offScreen = await pollsPerMinute();
  assert.ok(live > 100 && offScreen <= 4, `${live} ${offScreen}`);
  view.onScreen = true;
  runs.get('r1').refresh();
  assert.ok((await pollsPerMinute()) > 100);
});

test('a hidden page does not poll until it is shown', async () => {
  watch(new View());
  await pass(100);
  setPageHidden(true);
  await pass(400);
  assert.equal(await pollsPerMinute(), 0);
  const before = versions.length;
  setPageHidden(false);
  await pass(100);
  assert.equal(versions.length, before + 1);
});

test('an ended run is polled for a resume while it is visible, and else not at all', async () => {
  answer = async () => ({ ...output(), snapshot: completed() });
  const view = new View();
  watch(view);
  await pass(100);
  assert.equal(await pollsPerMinute(), 6);
  view.onScreen = false;
  await pass(10_000);
  assert.equal(await pollsPerMinute(), 0);
});

test('an interrupted run is polled for a resume even off screen', async () => {
  answer = async () => output({ state: 'Interrupted' });
  const view = new View();
  view.onScreen = false;
  watch(view);
  assert.equal(await pollsPerMinute(), 12);
});

test('an error is shown until a poll succeeds', async () => {
  const view = new View();
  answer = () => Promise.reject(new Error('the network is down'));
  watch(view);
  await pass(100);
  assert.equal(view.problem, 'not live (the network is down); trying again');
  answer = async () => null;
  await pass(3000);
  assert.equal(view.problem, '');
});

test('a run that the server does not have is not polled', async () => {
  const view = new View();
  answer = () => Promise.reject(new RunNotFound('not here'));
  watch(view);
  assert.equal(await pollsPerMinute(), 1);
  assert.deepEqual([view.missing, view.problem], [1, '']);
});

test('an action during a poll is followed by another poll at once', async () => {
  let respond = (_: RunOutput | null): void => undefined;
  answer = () => new Promise((resolve) => (respond = resolve));
  watch(new View());
  await pass(100);
  runs.get('r1').refresh();
  await pass(5000);
  assert.equal(versions.length, 1);
  respond({ ...output(), snapshot: completed() });
  await settle();
  await pass(100);
  assert.equal(versions.length, 2);
});

test('after its last view has left, a run is not polled, and is new when it comes back', async () => {
  let opened = 0;
  runs.onOpen = () => {
    opened += 1;
  };
  const leave = watch(new View());
  const alsoLeave = watch(new View());
  await pass(100);
  leave();
  assert.ok((await pollsPerMinute()) > 100);
  alsoLeave();
  assert.equal(await pollsPerMinute(), 0);
  setPageHidden(false);
  assert.equal(await pollsPerMinute(), 0);
  watch(new View());
  await pass(100);
  assert.equal(versions.at(-1), '');
  assert.equal(opened, 2);
});
