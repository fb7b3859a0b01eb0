import assert from 'node:assert/strict';
import { beforeEach, mock, test } from 'node:test';
import type { Grid } from '../src/model/wire';
import { GridView } from '../src/views/grid';
import { FakeHost, output } from './fixtures';
import {
  canvas,
  click,
  find,
  observerCount,
  point,
  press,
  settle,
  setWidth,
  show,
  visibleText,
} from './page';

const [LEFT, HALF, DONE, FAILED, RETRYING, RUNNING] = [0, 4, 8, 8 + 9, 18, 36];

let host: FakeHost;
let view: GridView;
let opened: number[];
let chart: HTMLElement;

beforeEach(() => {
  setWidth(450);
  host = new FakeHost();
  opened = [];
  view = new GridView(host, (miniBatch) => opened.push(miniBatch), document.createElement('div'));
  show(view.node);
  chart = find(view.node, 'canvas');
});

function grid(codes: readonly number[], fields: Partial<Grid> = {}): Grid {
  const cells = codes.map((code) => String.fromCharCode(code + (code + 35 >= 92 ? 36 : 35)));
  return { first: 0, count: codes.length, per_cell: 1, cells: cells.join(''), ...fields };
}

function draw(shown: Grid): void {
  view.draw(output({ grid: shown }));
}

function described(): string | null {
  return chart.getAttribute('aria-valuetext');
}

function descriptions(size: number): string[] {
  chart.focus();
  return Array.from({ length: size }, () => {
    press(chart, 'ArrowRight');
    return described() ?? '';
  });
}

test('the grid is hidden until there are mini-batches', () => {
  draw(grid([]));
  assert.equal(view.node.hidden, true);
  draw(grid([LEFT]));
  assert.equal(view.node.hidden, false);
});

test('each state of a mini-batch has its words', () => {
  draw(grid([LEFT, DONE, FAILED, RETRYING, RUNNING]));
  assert.deepEqual(descriptions(5), [
    ...['mini-batch 0: left', 'mini-batch 1: done', 'mini-batch 2: failed'],
    ...['mini-batch 3: to run again', 'mini-batch 4: running'],
  ]);
});

test('a cell of many names its range, its progress and its states', () => {
  draw(grid([DONE, FAILED, HALF + 9 + 18 + 36, LEFT], { count: 30, per_cell: 8 }));
  assert.match(visibleText(view.node), /^Mini-batches, 8 in each cell/);
  assert.deepEqual(descriptions(4), [
    'mini-batches 0 to 7: all done',
    'mini-batches 8 to 15: all done, some failed',
    'mini-batches 16 to 23: 4/8 done, some failed, some to run again, some running',
    'mini-batches 24 to 29: 0/8 done',
  ]);
});

test('the keys move through the rows and columns, and stop at the ends', () => {
  draw(grid(Array(100).fill(DONE))); // 450 px hold 32 columns of 14 px
  const moves: [string, number][] = [
    ['ArrowRight', 0], // the first key selects the first cell
    ['ArrowRight', 1],
    ['ArrowDown', 33],
    ['ArrowLeft', 32],
    ['ArrowUp', 0],
    ['ArrowUp', 0],
    ['End', 99],
    ['ArrowRight', 99],
    ['PageUp', 0],
    ['PageDown', 99],
    ['Home', 0],
  ];
  for (const [key, cell] of moves) {
    assert.ok(press(chart, key), key);
    assert.equal(described(), `mini-batch ${cell}: done`, key);
    assert.equal(chart.getAttribute('aria-valuenow'), String(cell));
  }
  assert.equal(chart.getAttribute('aria-valuemax'), '99');
  assert.equal(press(chart, 'a'), false);
});

test('Enter and a click open a mini-batch; elsewhere they open nothing', () => {
  draw(grid(Array(100).fill(DONE)));
  press(chart, 'Enter'); // nothing is selected
  press(chart, 'End');
  press(chart, 'Enter');
  point(chart, 'click', 14 * 2 + 3, 14 + 3);
  point(chart, 'click', 449, 3); // right of the last column
  point(chart, 'click', 14 * 31, 14 * 3 + 3); // below the last cell
  assert.deepEqual(opened, [99, 34]);
});

test('the pointer selects the cell under it, and no cell elsewhere', () => {
  draw(grid(Array(100).fill(DONE)));
  point(chart, 'pointermove', 14 * 2 + 3, 14 + 3);
  assert.equal(described(), 'mini-batch 34: done');
  assert.equal(visibleText(find(view.node, '.pr-hint')), 'mini-batch 34: done');
  point(chart, 'pointermove', 14 * 31, 14 * 3 + 3); // below the last cell
  assert.equal(described(), 'point at a cell, or use the arrow keys');
  point(chart, 'pointermove', 3, 3);
  chart.dispatchEvent(new Event('pointerleave'));
  assert.equal(described(), 'point at a cell, or use the arrow keys');
});

test('the paint shows the state without relying on color alone', () => {
  draw(grid([LEFT, HALF, DONE]));
  const done = canvas.rectangles.filter(([color]) => color === 'var(--pr-done)');
  assert.deepEqual(
    done.map(([, x, y, , height]) => [x, y, height]),
    [
      [0, 13, 0],
      [14, 6, 7],
      [28, 0, 13],
    ],
  );
});

test('an unchanged, closed or undisplayed grid is not painted', () => {
  draw(grid([LEFT, DONE]));
  const paints = canvas.paints;
  draw(grid([LEFT, DONE]));
  assert.equal(canvas.paints, paints);
  view.node.open = false;
  draw(grid([DONE, DONE]));
  assert.equal(canvas.paints, paints);
  view.node.open = true;
  assert.equal(canvas.paints, paints + 1);
  setWidth(0);
  draw(grid([FAILED, DONE]));
  assert.equal(canvas.paints, paints + 1);
});

test('a cell of many opens into its own grid, until Escape or the link', async () => {
  draw(grid([DONE, FAILED], { count: 16, per_cell: 8 }));
  host.cells = (first) => grid([DONE, DONE, DONE, FAILED, DONE, DONE, DONE, DONE], { first });
  press(chart, 'End');
  press(chart, 'Enter');
  await settle();
  assert.deepEqual(host.calls, ['grid 8 8']);
  assert.match(visibleText(view.node), /← all mini-batches mini-batches 8 to 15/);
  assert.equal(chart.getAttribute('aria-valuemax'), '7');
  press(chart, 'End');
  assert.equal(described(), 'mini-batch 15: done');
  press(chart, 'Enter');
  assert.deepEqual(opened, [15]);
  press(chart, 'Escape');
  assert.equal(chart.getAttribute('aria-valuemax'), '1');
  press(chart, 'Home');
  press(chart, 'Enter');
  await settle();
  click(view.node, '← all mini-batches');
  assert.equal(described(), 'mini-batches 0 to 7: all done');
  assert.doesNotMatch(visibleText(view.node), /← all/);
});

test('in a smaller grid, the selection moves to a cell that exists', async () => {
  draw(grid(Array(20).fill(DONE), { count: 160, per_cell: 8 }));
  press(chart, 'End');
  press(chart, 'Enter');
  await settle();
  assert.equal(described(), 'mini-batch 159: done'.replace('done', 'left'));
  press(chart, 'Enter');
  assert.deepEqual(opened, [159]);
});

test('a grid with the same cells but another range is drawn', async () => {
  draw(grid([DONE, DONE], { count: 4, per_cell: 2 }));
  host.cells = () => grid([DONE, DONE]);
  press(chart, 'Home');
  press(chart, 'Enter');
  await settle();
  assert.equal(described(), 'mini-batch 0: done');
});

test('an opened cell is refreshed each second; errors are shown until the next answer', async () => {
  mock.timers.enable({ apis: ['Date'], now: 1e12 });
  draw(grid([DONE, FAILED], { count: 16, per_cell: 8 }));
  press(chart, 'Home');
  press(chart, 'Enter');
  await settle();
  draw(grid([DONE, FAILED], { count: 16, per_cell: 8 }));
  assert.equal(host.calls.length, 1);
  host.error = new Error('no answer');
  mock.timers.tick(1001);
  draw(grid([DONE, FAILED], { count: 16, per_cell: 8 }));
  await settle();
  assert.equal(host.calls.length, 2);
  assert.match(visibleText(view.node), /no answer/);
  host.error = null;
  mock.timers.tick(1001);
  draw(grid([DONE, FAILED], { count: 16, per_cell: 8 }));
  await settle();
  assert.match(visibleText(view.node), /mini-batches 0 to 7/);
  mock.timers.reset();
});

test('a late answer or error does not show up after the cell was closed', async () => {
  draw(grid([DONE, FAILED], { count: 16, per_cell: 8 }));
  press(chart, 'Home');
  press(chart, 'Enter');
  press(chart, 'Escape');
  await settle();
  assert.equal(chart.getAttribute('aria-valuemax'), '1');
  host.error = new Error('no answer');
  press(chart, 'Enter');
  press(chart, 'Escape');
  await settle();
  assert.doesNotMatch(view.node.textContent ?? '', /no answer/);
});

test('a disposed grid observes nothing', () => {
  const before = observerCount();
  view.dispose();
  assert.equal(observerCount(), before - 1);
});
