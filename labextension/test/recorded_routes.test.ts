import assert from 'node:assert/strict';
import { test } from 'node:test';
import { gzipSync } from 'node:zlib';
import type { Contents } from '@jupyterlab/services';
import { RecordedRoutes } from '../src/lab/recorded_routes';
import type { RunList } from '../src/model/wire';
import { completed, output } from './fixtures';

const LIST = 'http://127.0.0.1/parallelrun/runs';

/** Returns the files of a site: its recordings, by name. */
function filesOf(recordings: Readonly<Record<string, unknown>>): Contents.IManager {
  const models = Object.keys(recordings).map((name) => ({ path: name, size: 7, type: 'file' }));
  const get = async (path: string): Promise<unknown> => ({
    content: path === 'recordings' ? models : recordings[path],
  });
  return { get } as unknown as Contents.IManager;
}

async function listed(recordings: Readonly<Record<string, unknown>>): Promise<RunList> {
  const routes = new RecordedRoutes(filesOf(recordings));
  return (await routes.fetch({ url: LIST, method: 'GET' } as Request)).json();
}

test('files that are no recordings hide no others', async (context) => {
  const warn = context.mock.method(console, 'warn', () => undefined);
  const last = output(completed({}));
  const packed = gzipSync(JSON.stringify([[0, last, last.snapshot]])).toString('base64');
  const good = { output: last, frames: { packed, ends: [] } };
  const list = await listed({
    'a.json': '{"output"',
    'b.json': null,
    'c.json': { frames: null },
    'd.json': { output: last, frames: { packed: 'bm90IGd6aXA=', ends: [] } },
    'good.json': good,
    'read.txt': 'no recording',
  });
  assert.deepEqual(
    list.runs.map((run) => run.run_id),
    [last.run_id],
  );
  assert.equal(warn.mock.callCount(), 4);
});
