import assert from 'node:assert/strict';
import { beforeEach, test } from 'node:test';
import { gzipSync } from 'node:zlib';
import { RecordedHost } from '../src/model/recorded_host';
import { momentsOf } from '../src/model/recording';
import type { Recording, RunOutput } from '../src/model/wire';
import {
  completed,
  failedItem,
  logWindow,
  output,
  resultRow,
  resultRows,
  worker,
} from './fixtures';

const QUERY = { worker: '', mini_batch: -1, level: '', text: '', lines: 200, since: {} };
const BEGAN = Date.UTC(2026, 10, 29, 12) / 1000;

/** Cells of one mini-batch, as the Python module `mini_batches` encodes them. */
const [FAILED, RETRYING] = ['4', '5'];

let host: RecordedHost;
let recording: Recording;

function outputAt(atS: number, running = -1): RunOutput {
  const workers = running < 0 ? [] : [worker({ phase: 'running', mini_batch: running })];
  return output({ at_s: atS, workers }, { at: BEGAN + atS });
}

function line(second: number, text: string): string {
  return `n0w0 2026-11-29T12:00:${String(second).padStart(2, '0')}.500Z STDOUT #7 ${text}`;
}

function attempt(number: number, atS: number): Recording['details'][0]['attempts'][0] {
  return {
    ...{ attempt: number, worker: 'n0w0', succeeded: false, at_s: atS, duration_s: 1, rows: 0 },
    ...{ ranges: [], items_failed: 5, group: 'ValueError', message: 'bad' },
  };
}

function failure(miniBatch: number, number: number): Recording['failures'][0]['rows'][0] {
  return {
    ...{ mini_batch: miniBatch, attempt: number, worker: 'n0w0', kind: 'exception' },
    ...{ error: 'ValueError', message: 'bad', items: 5, is_last: number === 2 },
  };
}

beforeEach(() => {
  recording = {
    output: output(completed({ at_s: 10 }), { at: BEGAN + 10 }),
    failures: [{ group: 'g', traceback: 'T', rows: [failure(7, 1), failure(7, 2)], attempts: 2 }],
    items: [{ group: 'g', items: [failedItem({ mini_batch: 7, position: 0 })], has_more: false }],
    previews: [],
    rows: [
      resultRows([resultRow({ mini_batch: 0 }), resultRow({ mini_batch: 1 })]),
      resultRows([resultRow({ mini_batch: 9 })]),
    ],
    log: logWindow([line(1, 'first'), line(5, 'second'), line(9, 'third')]),
    details: [
      {
        ...{ mini_batch: 7, state: 'failed' as never, worker: '', items: ['a.png'] },
        ...{ items_count: 1, items_failed: 1, failed_ranges: [[0, 1]] },
        attempts: [attempt(1, 3), attempt(2, 6)],
      },
    ],
    parts: [{ first: 0, count: 4, per_cell: 1, cells: '++++' }],
    frames: {
      packed: '',
      ends: [
        [0, 1, 2000],
        [1, 1, 4000],
        [7, 1, 3000],
        [7, 2, 6000],
        [9, 1, 9000],
      ],
    },
  };
  host = new RecordedHost(recording);
});

test('the end has everything', async () => {
  assert.equal((await host.logs(QUERY)).lines.length, 3);
  assert.equal((await host.failures('g')).rows.length, 2);
  assert.equal((await host.failedItems('g')).items.length, 1);
  const latest = await host.results({ order: 'latest', text: '', after: [] });
  assert.deepEqual(
    latest.rows.map((one) => one.mini_batch),
    [9],
  );
  assert.equal((await host.miniBatch(7)).attempts.length, 2);
  assert.equal((await host.grid(0)).cells, '++++');
});

test('a moment has what was known then', async () => {
  host.moveTo(outputAt(5, 7));
  const log = await host.logs(QUERY);
  assert.deepEqual(log.lines, [line(1, 'first')]); // the second line was logged half a second later
  assert.equal((await host.failures('g')).rows.length, 1);
  assert.equal((await host.failures('g')).attempts, 1);
  assert.equal((await host.failedItems('g')).items.length, 0);
  const latest = await host.results({ order: 'latest', text: '', after: [] });
  assert.deepEqual(
    latest.rows.map((one) => one.mini_batch),
    [1, 0], // of the first rows, as long as the latest ones do not exist
  );
  const one = await host.miniBatch(7);
  assert.deepEqual([one.state, one.worker, one.attempts.length], ['running', 'n0w0', 1]);
  assert.deepEqual([one.items_failed, one.failed_ranges], [0, []]);
  await assert.rejects(host.grid(0), /cells open at the end of the recording/);
});

test('a mini-batch waits before its first attempt and between two', async () => {
  host.moveTo(outputAt(1));
  assert.equal((await host.miniBatch(7)).state, 'left');
  host.moveTo(outputAt(4));
  assert.equal((await host.miniBatch(7)).state, 'retrying');
});

test('a mini-batch that had failed before a resume tried it again is shown as failed', async () => {
  const moment = (cell: string, atS: number): void => {
    const cells = `#######${cell}`;
    const grid = { first: 0, count: 8, per_cell: 1, cells };
    host.moveTo(output({ at_s: atS, grid, workers: [] }, { at: BEGAN + atS }));
  };
  moment(FAILED, 4);
  assert.equal((await host.miniBatch(7)).state, 'failed');
  moment(RETRYING, 4);
  assert.equal((await host.miniBatch(7)).state, 'retrying');
  moment('#', 1);
  assert.equal((await host.miniBatch(7)).state, 'left');
  const partly = [{ ...attempt(1, 3), succeeded: true }, attempt(2, 6)];
  const details = recording.details.map((detail) => ({ ...detail, attempts: partly }));
  host = new RecordedHost({ ...recording, details });
  moment(FAILED, 4);
  assert.equal((await host.miniBatch(7)).state, 'partly failed');
  moment('+', 4);
  assert.equal((await host.miniBatch(7)).state, 'succeeded');
});

test('the log goes on where the last answer ended', async () => {
  host.moveTo(outputAt(5));
  const { ends } = await host.logs(QUERY);
  host.moveTo(outputAt(9.6));
  assert.deepEqual((await host.logs({ ...QUERY, since: ends })).lines.length, 2);
});

test('frames are unpacked into whole states, and the last one is the end itself', async () => {
  const first = outputAt(0);
  const frames = [
    [0, { ...first, snapshot: undefined }, first.snapshot],
    [4000, { at: BEGAN + 4 }, { at_s: 4, succeeded: 41 }],
    [10_000, {}, {}],
  ];
  const packed = gzipSync(JSON.stringify(frames)).toString('base64');
  const moments = await momentsOf({ ...recording, frames: { packed, ends: [] } });
  assert.deepEqual(
    moments.map((moment) => moment.position),
    [0, 4000, 10_000],
  );
  assert.equal(moments[0]?.output.snapshot.succeeded, first.snapshot.succeeded);
  assert.equal(moments[1]?.output.snapshot.succeeded, 41);
  assert.equal(moments[1]?.output.snapshot.name, first.snapshot.name);
  assert.equal(moments[2]?.output, recording.output);
  assert.deepEqual(await momentsOf({ ...recording, frames: null }), []);
});
