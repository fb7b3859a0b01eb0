import assert from 'node:assert/strict';
import { beforeEach, test } from 'node:test';
import { Workers } from '../src/views/workers';
import { output, worker } from './fixtures';
import { assertSame, click, find, show, texts, visibleText } from './page';

let workers: Workers;
let logs: string[];
let opened: number[];

beforeEach(() => {
  logs = [];
  opened = [];
  workers = new Workers(
    (name) => logs.push(name),
    (miniBatch) => opened.push(miniBatch),
  );
  show(workers.node);
});

function rows(): string[] {
  return texts(workers.node, 'tbody tr');
}

test('a run without workers has no table', () => {
  workers.draw(output(), 0);
  assert.equal(workers.node.hidden, true);
});

test('a worker has its phase, mini-batch, time, counts and usage', () => {
  const used = { cpu_percent: 98, memory_mb: 2048, gpu_percent: 40, gpu_memory_mb: 512 };
  const counts = { succeeded: 1234, failed: 2, restarts: 1 };
  workers.draw(output({ workers: [worker({ ...used, ...counts })] }), 4);
  assert.deepEqual(rows(), ['n0w0 in run() 7 7 s 1,234 ✗ 2 1 98 % 2.0 GB 40 %, 512 MB']);
  workers.draw(output({ workers: [worker({ phase: 'waiting', mini_batch: -1 })] }), 0);
  assert.deepEqual(rows(), ['n0w0 waiting 3 s 20 0 0 – –']);
});

test('a worker with several calls has their number in place of one mini-batch', () => {
  workers.draw(output({ workers: [worker({ calls: [48, 12] })] }), 0);
  assert.deepEqual(rows(), ['n0w0 in run() 48 in flight, 12 waiting 3 s 20 0 0 – –']);
  workers.draw(output({ workers: [worker({ calls: [48, 0] })] }), 0);
  assert.deepEqual(rows(), ['n0w0 in run() 48 in flight 3 s 20 0 0 – –']);
});

test('times advance between snapshots, in the same cells', () => {
  const shown = output({ workers: [worker()] });
  workers.draw(shown, 0);
  const cells = [...workers.node.querySelectorAll('td')];
  workers.draw(shown, 58);
  assertSame(workers.node.querySelectorAll('td'), cells);
  assert.match(rows()[0] ?? '', / 1:01 /);
});

test('rows are kept by worker when others come and go', () => {
  const [first, second] = [worker({ worker: 'n0w0' }), worker({ worker: 'n0w1' })];
  workers.draw(output({ workers: [first, second] }), 0);
  const kept = workers.node.querySelectorAll('tbody tr')[1];
  workers.draw(output({ workers: [second, worker({ worker: 'n0w2' })] }), 0);
  assertSame([workers.node.querySelector('tbody tr')], [kept ?? null]);
  assert.equal(rows().length, 2);
});

test('workers are grouped by node if there are several', () => {
  const of = (node: string, name: string) => worker({ node, worker: name });
  workers.draw(output({ workers: [of('n0', 'n0w0')] }), 0);
  assert.equal(workers.node.querySelectorAll('th[scope=rowgroup]').length, 0);
  workers.draw(output({ workers: [of('n0', 'n0w0'), of('n1', 'n1w0'), of('n0', 'n0w1')] }), 0);
  assert.deepEqual(
    rows().map((text) => text.split(' ').slice(0, 2).join(' ')),
    ['node n0', 'n0w0 in', 'n0w1 in', 'node n1', 'n1w0 in'],
  );
});

test('the title counts all workers, and the ones lost', () => {
  workers.draw(output({ workers: [worker()], workers_hidden: 49, workers_lost: 3 }), 0);
  assert.equal(visibleText(find(workers.node, 'summary')), '50 workers, 3 lost and replaced');
  assert.match(visibleText(workers.node), /and 49 other workers$/);
});

test('the GPU column is shown only if a worker has one', () => {
  workers.draw(output({ workers: [worker()] }), 0);
  const table = find(workers.node, 'table');
  assert.ok(table.classList.contains('pr-no-gpu'));
  workers.draw(output({ workers: [worker(), worker({ worker: 'n0w1', gpu_percent: 0 })] }), 0);
  assert.ok(!table.classList.contains('pr-no-gpu'));
});

test('a call that tells its progress has a bar and a count, and the column stays', () => {
  workers.draw(output({ workers: [worker()] }), 0);
  const table = find(workers.node, 'table');
  assert.ok(table.classList.contains('pr-no-progress'));
  const told = [
    worker({ progress: [3, 10, 0] }),
    worker({ worker: 'n0w1', progress: [1, 1, 1] }),
    worker({ worker: 'n0w2', progress: [1200, -1, 0] }),
  ];
  workers.draw(output({ workers: told }), 0);
  assert.ok(!table.classList.contains('pr-no-progress'));
  const cells = texts(workers.node, 'td:nth-child(5)');
  assert.deepEqual(cells, ['3 of 10', '1 of 1 item', '1,200 done']);
  const bars = [...workers.node.querySelectorAll<HTMLElement>('.pr-part')];
  const widths = bars.map((bar) => (bar.firstElementChild as HTMLElement).style.width);
  assert.deepEqual(widths.slice(0, 2), ['30.0%', '100.0%']);
  assert.deepEqual(
    bars.map((bar) => bar.hidden),
    [false, false, true],
  );
  workers.draw(output({ workers: [worker()] }), 0);
  assert.equal(texts(workers.node, 'td:nth-child(5)')[0], '');
  assert.ok(!table.classList.contains('pr-no-progress'));
});

test('a snapshot of an older version has no progress', () => {
  const { progress: _, ...old } = worker();
  workers.draw(output({ workers: [old as ReturnType<typeof worker>] }), 0);
  assert.deepEqual(rows(), ['n0w0 in run() 7 3 s 20 0 0 – –']);
});

test('a worker leads to its log, and its mini-batch to the mini-batch of now', () => {
  workers.draw(output({ workers: [worker()] }), 0);
  click(workers.node, 'n0w0');
  workers.draw(output({ workers: [worker({ mini_batch: 1008 })] }), 0);
  click(workers.node, '1,008');
  assert.deepEqual([logs, opened], [['n0w0'], [1008]]);
});

test('the usage of the last seconds is a line from left to right, without unknown values', () => {
  workers.draw(output({ workers: [worker({ cpu: '0._' })] }), 0);
  const points = workers.node.querySelector('polyline')?.getAttribute('points');
  assert.equal(points, '0.0,13.0 60.0,1.0');
});
