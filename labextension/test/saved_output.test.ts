import assert from 'node:assert/strict';
import { afterEach, beforeEach, mock, test } from 'node:test';
import type { IRenderMime } from '@jupyterlab/rendermime-interfaces';
import type { Bundle, RunsClient } from '../src/lab/client';
import { SavedOutput, savedRun, WIDGET_MIME } from '../src/lab/saved_output';
import { RUN_MIME, type RunOutput, type Snapshot } from '../src/model/wire';
import { completed, output } from './fixtures';
import { settle } from './page';

let data: Record<string, unknown>;
let writes: number;
let fetches: number;
let server: RunOutput;
let isDown: boolean;
let saved: SavedOutput;

beforeEach(() => {
  mock.timers.enable({ apis: ['Date'], now: 1e12 });
  data = { [RUN_MIME]: output({}, { at: 1, stage: 0 }), [WIDGET_MIME]: {}, 'text/html': 'old' };
  writes = 0;
  fetches = 0;
  isDown = false;
  const model = {
    get data() {
      return data;
    },
    setData: (change: { data: Record<string, unknown> }) => {
      data = change.data;
      writes += 1;
    },
  };
  const bundle = async (): Promise<Bundle> => {
    fetches += 1;
    if (isDown) {
      throw new Error('the server is down');
    }
    return { [RUN_MIME]: server, 'text/html': `html of ${server.at}` } as unknown as Bundle;
  };
  saved = new SavedOutput(
    { bundle } as unknown as RunsClient,
    () => model as unknown as IRenderMime.IMimeModel,
  );
});

afterEach(() => mock.timers.reset());

/** Draws a state of the run, which the server renders as it is now. */
async function draw(at: number, stage: number, of: Partial<Snapshot>): Promise<void> {
  server = output(of, { at, stage });
  saved.draw(server);
  await settle();
}

function html(): unknown {
  return data['text/html'];
}

test('opening a notebook does not change it; each later milestone does', async () => {
  await draw(2, 1, { succeeded: 50 });
  assert.equal(writes, 0);
  await draw(3, 2, { succeeded: 60 });
  assert.deepEqual([writes, html()], [1, 'html of 3']);
  assert.equal(savedRun({ data } as unknown as IRenderMime.IMimeModel).snapshot.succeeded, 60);
  assert.ok(WIDGET_MIME in data, 'a running run keeps its widget');
});

test('the end is written, without the widget', async () => {
  await draw(2, 1, completed());
  assert.deepEqual([writes, html()], [1, 'html of 2']);
  assert.ok(!(WIDGET_MIME in data));
  await draw(3, 1, completed({ elapsed_s: 99 }));
  assert.equal(writes, 1, 'nothing but a time has changed');
});

test('between milestones a bundle is fetched every ten seconds, and written on save', async () => {
  await draw(2, 1, { succeeded: 50 });
  await draw(3, 1, { succeeded: 51 });
  assert.equal(fetches, 1);
  mock.timers.tick(10_001);
  await draw(4, 1, { succeeded: 52 });
  assert.deepEqual([fetches, writes], [2, 0]);
  saved.write();
  assert.deepEqual([writes, html()], [1, 'html of 4']);
  saved.write();
  assert.equal(writes, 1);
});

test('an older state never replaces a newer one', async () => {
  await draw(2, 1, { succeeded: 50 });
  data = { ...data, [RUN_MIME]: output({ succeeded: 70 }, { at: 9 }) };
  saved.write();
  assert.equal(writes, 0);
});

test('a failed fetch is tried again at the next change', async () => {
  isDown = true;
  await draw(2, 1, { succeeded: 50 });
  isDown = false;
  await draw(3, 1, { succeeded: 51 });
  assert.equal(fetches, 2);
  saved.write();
  assert.equal(html(), 'html of 3');
});

test('a save without anything fetched writes nothing', () => {
  saved.write();
  assert.equal(writes, 0);
});
