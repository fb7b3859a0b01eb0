import assert from 'node:assert/strict';
import { beforeEach, test } from 'node:test';
import type { Snapshot } from '../src/model/wire';
import { Timeline } from '../src/views/timeline';
import { completed, output, worker } from './fixtures';
import { canvas, find, point, press, setWidth, show } from './page';

const [DONE, FAILED, RETRYING] = [1, 2, 3];

let timeline: Timeline;
let opened: number[];
let chart: HTMLElement;

beforeEach(() => {
  setWidth(464); // 64 px of names, and 400 px for the bars
  opened = [];
  timeline = new Timeline((miniBatch) => opened.push(miniBatch));
  show(timeline.node);
  timeline.node.open = true;
  chart = find(timeline.node, 'canvas');
});

// Two workers in the last forty seconds: 10 px a second.
const LANES: Partial<Snapshot> = {
  at_s: 100,
  lanes_from_ms: 60_000,
  lanes: [
    {
      worker: 'n0w0',
      bars: [
        [60_000, 10_000, 1, 1, DONE],
        [70_000, 10_000, 2, 1, FAILED],
        [80_000, 10_000, 3, 25, DONE],
      ],
    },
    {
      worker: 'n0w1',
      bars: [
        [61_000, 4000, 4, 1, DONE],
        [78_000, 4000, 5, 1, RETRYING],
      ],
    },
  ],
  workers: [worker({ worker: 'n0w1', mini_batch: 6, since_s: 10 })],
};

function draw(fields: Partial<Snapshot> = {}, age = 0): void {
  timeline.draw(output({ ...LANES, ...fields }), age);
}

function described(): string | null {
  return chart.getAttribute('aria-valuetext');
}

test('a run without bars has no timeline, and a closed one is not painted', () => {
  draw({ lanes: [] });
  assert.equal(timeline.node.hidden, true);
  timeline.node.open = false;
  const { paints } = canvas;
  draw();
  assert.equal(timeline.node.hidden, false);
  assert.equal(canvas.paints, paints);
  timeline.node.open = true;
  assert.equal(canvas.paints, paints + 1);
});

test('the arrow keys move along the bars of a worker, and to the nearest bar of another', () => {
  draw();
  const moves: [string, string][] = [
    ['ArrowRight', 'n0w0: mini-batch 1, done, 10 s'],
    ['ArrowRight', 'n0w0: mini-batch 2, failed, 10 s'],
    ['ArrowRight', 'n0w0: 25 mini-batches, done, 10 s'],
    ['ArrowDown', 'n0w1: mini-batch 5, failed, retried, 4.0 s'],
    ['ArrowDown', 'n0w1: mini-batch 5, failed, retried, 4.0 s'],
    ['ArrowLeft', 'n0w1: mini-batch 4, done, 4.0 s'],
    ['ArrowUp', 'n0w0: mini-batch 1, done, 10 s'],
    ['End', 'n0w1: mini-batch 6, running, 10 s'],
    ['Home', 'n0w0: mini-batch 1, done, 10 s'],
  ];
  for (const [key, text] of moves) {
    press(chart, key);
    assert.equal(described(), text, key);
  }
  press(chart, 'End');
  press(chart, 'Enter');
  assert.deepEqual(opened, [6]);
});

test('a key that is pressed before the first bars is not lost', () => {
  timeline.node.open = false;
  draw();
  press(chart, 'ArrowRight');
  timeline.node.open = true;
  assert.equal(described(), 'n0w0: mini-batch 1, done, 10 s');
});

test('the pointer finds a bar by its worker and time', () => {
  draw();
  point(chart, 'pointermove', 64 + 150, 7);
  assert.match(described() ?? '', /^n0w0: mini-batch 2,/);
  point(chart, 'pointermove', 64 + 30, 15 + 7);
  assert.match(described() ?? '', /^n0w1: mini-batch 4,/);
  point(chart, 'pointermove', 64 + 350, 7);
  assert.equal(described(), 'point at a bar, or use the arrow keys');
  point(chart, 'click', 64 + 399, 15 + 7);
  assert.deepEqual(opened, [6]);
});

test('bars have the colors of their states, and a failure a notch as well', () => {
  draw();
  const colors = canvas.rectangles.map(([color]) => color.slice('var(--pr-'.length, -1));
  assert.deepEqual(colors, ['done', 'failed', 'page', 'done', 'done', 'retrying', 'running']);
});

test('the running bar is filled as far as its call is, and says it', () => {
  const progress = [3, 10, 0];
  draw({ workers: [worker({ worker: 'n0w1', mini_batch: 6, since_s: 10, progress })] });
  press(chart, 'End');
  assert.equal(described(), 'n0w1: mini-batch 6, running, 3 of 10, 10 s');
  const [running, part] = canvas.rectangles.slice(-3); // the third is the selection
  assert.deepEqual([running?.[0], part?.[0]], ['var(--pr-running)', 'var(--pr-done)']);
  assert.equal(running?.[1], part?.[1]);
  assert.ok(Math.abs((part?.[3] ?? 0) - 0.3 * (running?.[3] ?? 0)) < 0.01);
});

test('the running bar and the window advance with the clock, until the run has ended', () => {
  draw({}, 5);
  press(chart, 'End');
  assert.equal(described(), 'n0w1: mini-batch 6, running, 15 s');
  assert.ok(canvas.texts.includes('−40 s') && canvas.texts.includes('now'));
  timeline.draw({ ...output(), snapshot: completed({ ...LANES, workers: [] }) }, 5);
  press(chart, 'End');
  assert.equal(described(), 'n0w1: mini-batch 5, failed, retried, 4.0 s');
  assert.ok(canvas.texts.includes('−40 s') && canvas.texts.includes('end'));
});

test('every bar lies inside of the chart, also the ones that began before the window', () => {
  draw({ lanes: [{ worker: 'n0w0', bars: [[0, 62_000, 1, 1, DONE]] }], workers: [] });
  for (const [, x, , width] of canvas.rectangles) {
    assert.ok(x >= 64 && width >= 1 && x + width <= 464, `${x} ${width}`);
  }
});
