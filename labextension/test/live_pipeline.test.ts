import assert from 'node:assert/strict';
import { afterEach, beforeEach, mock, test } from 'node:test';
import type { IRenderMime } from '@jupyterlab/rendermime-interfaces';
import { type Bundle, RunNotFound, type RunsClient } from '../src/lab/client';
import { LivePipeline, savedPipeline } from '../src/lab/live_pipeline';
import { PIPELINE_MIME, type PipelineOutput, RUN_MIME } from '../src/model/wire';
import { listenerCount, setPageHidden, settle } from './page';

let data: Record<string, unknown>;
let writes: number;
let asked: string[];
let drawn: Bundle[];
let problem: string;
let isOnScreen: boolean;
let answer: () => Bundle;
let live: LivePipeline;

function bundle(of: Partial<PipelineOutput> = {}, html = ''): Bundle {
  const output = { pipeline_id: 'p', step: '', version: 'Running', has_ended: false, ...of };
  return { [PIPELINE_MIME]: { may_cancel: true, ...output }, 'text/html': html };
}

beforeEach(() => {
  mock.timers.enable({ apis: ['setTimeout'] });
  writes = 0;
  asked = [];
  drawn = [];
  problem = '';
  isOnScreen = true;
  answer = () => bundle();
});

afterEach(() => {
  live.dispose();
  assert.equal(listenerCount(), 0);
  mock.timers.reset();
  setPageHidden(false);
});

async function start(saved: Bundle): Promise<void> {
  data = saved;
  const client = {
    pipeline: async (id: string, step: string) => {
      asked.push(`${id}/${step}`);
      return answer();
    },
  };
  const model = {
    get data() {
      return data;
    },
    setData: (change: { data: Record<string, unknown> }) => {
      data = change.data;
      writes += 1;
    },
  };
  const place = {
    isOnScreen: () => isOnScreen,
    draw: (shown: Bundle) => void drawn.push(shown),
    showProblem: (text: string) => {
      problem = text;
    },
  };
  live = new LivePipeline(
    client as unknown as RunsClient,
    model as unknown as IRenderMime.IMimeModel,
    place,
  );
  await tick(0);
}

async function tick(ms: number): Promise<void> {
  mock.timers.tick(ms);
  await settle();
}

test('new times are drawn, and a new state is written into the notebook', async () => {
  answer = () => bundle({}, '2 s');
  await start(bundle({}, '1 s'));
  assert.deepEqual([writes, drawn.map((one) => one['text/html'])], [0, ['2 s']]);
  answer = () => bundle({ version: 'Running score=Completed' }, 'later');
  await tick(1000);
  assert.deepEqual([writes, data['text/html']], [1, 'later']);
});

test('it is polled until it has ended', async () => {
  await start(bundle());
  answer = () => bundle({ version: 'Completed', has_ended: true });
  await tick(1000);
  await tick(60_000);
  assert.deepEqual([asked.length, writes], [2, 1]);
  assert.equal(savedPipeline(data)?.has_ended, true);
});

test('the place of a step becomes the output of its run', async () => {
  await start(bundle({ step: 'score' }));
  answer = () => ({ [RUN_MIME]: { run_id: 'r' } });
  await tick(1000);
  assert.deepEqual(data, { [RUN_MIME]: { run_id: 'r' } });
  await tick(60_000);
  assert.deepEqual(asked, ['p/score', 'p/score']);
});

test('a view off the screen asks seldom, and at once when it is seen', async () => {
  isOnScreen = false;
  await start(bundle());
  await tick(14_000);
  assert.equal(asked.length, 1);
  live.refresh();
  await tick(0);
  assert.equal(asked.length, 2);
});

test('a hidden page does not ask', async () => {
  setPageHidden(true);
  await start(bundle());
  await tick(60_000);
  assert.equal(asked.length, 0);
  setPageHidden(false);
  await tick(0);
  assert.equal(asked.length, 1);
});

test('an error is told and goes away; a missing pipeline is told', async () => {
  answer = () => {
    throw new Error('the server is down');
  };
  await start(bundle());
  assert.equal(problem, 'not live (the server is down); trying again');
  answer = () => bundle();
  await tick(3000);
  assert.equal(problem, '');
  answer = () => {
    throw new RunNotFound('');
  };
  await tick(1000);
  assert.equal(problem, 'no live connection to this pipeline');
});
