import assert from 'node:assert/strict';
import { afterEach, beforeEach, mock, test } from 'node:test';
import { RunView } from '../src/views/run';
import { completed, EVIL, FakeHost, group, output, worker } from './fixtures';
import {
  assertSame,
  click,
  find,
  observerCount,
  setPageHidden,
  settle,
  show,
  texts,
  visibleText,
} from './page';

let host: FakeHost;
let view: RunView;

beforeEach(() => {
  mock.timers.enable({ apis: ['setTimeout', 'setInterval', 'Date'], now: 1_800_000_000_000 });
  host = new FakeHost();
  view = new RunView(host);
  show(view.node);
});

afterEach(() => {
  view.dispose();
  mock.timers.reset();
});

function announced(): string {
  return find(view.node, '.pr-spoken').textContent ?? '';
}

function elapsed(): string {
  return texts(view.node, '.pr-facts div')[4] ?? '';
}

test('a live run advances each second until its end; a saved one does not', () => {
  view.draw(output(), true);
  mock.timers.tick(5000);
  assert.equal(elapsed(), 'Elapsed 1:05');
  view.draw({ ...output(), snapshot: completed() }, true);
  mock.timers.tick(5000);
  assert.equal(elapsed(), 'Elapsed 1:00');
  view.draw(output(), false);
  mock.timers.tick(5000);
  assert.equal(elapsed(), 'Elapsed 1:00');
});

test('a view in a hidden browser tab, or outside of the page, does nothing', () => {
  view.draw(output(), true);
  setPageHidden(true);
  mock.timers.tick(20_000);
  assert.equal(elapsed(), 'Elapsed 1:00');
  setPageHidden(false);
  mock.timers.tick(1000);
  assert.equal(elapsed(), 'Elapsed 1:21');
  view.node.remove();
  mock.timers.tick(5000);
  assert.equal(elapsed(), 'Elapsed 1:21');
});

test('a drawn view is patched: no element is replaced between two snapshots', () => {
  const shown = { workers: [worker()], groups: [group()], warnings: ['slow disk'], running: 3 };
  view.draw(output(shown), true);
  const nodes = [...view.node.querySelectorAll('*')];
  view.draw(output({ ...shown, succeeded: 60, left: 40, elapsed_s: 90 }), true);
  assertSame(view.node.querySelectorAll('*'), nodes);
});

test('an unchanged run does not touch the page', async () => {
  const shown = output({ workers: [worker()], groups: [group()], is_final: true });
  view.draw(shown, false);
  view.draw(shown, false);
  let changes = 0;
  const observer = new MutationObserver((records) => {
    changes += records.filter((record) => record.type !== 'attributes').length;
  });
  observer.observe(view.node, { childList: true, characterData: true, subtree: true });
  view.draw(shown, false);
  await settle();
  observer.disconnect();
  assert.equal(changes, 0);
});

test('screen readers hear about progress at most every ten seconds, and once about the end', () => {
  const heard: string[] = [];
  const listen = (): void => {
    if (announced() !== heard.at(-1)) {
      heard.push(announced());
    }
  };
  view.draw(output(), true);
  listen();
  for (let second = 1; second <= 25; second += 1) {
    mock.timers.tick(1000);
    view.draw(output({ succeeded: 40 + second }), true);
    listen();
  }
  assert.equal(heard.length, 3);
  assert.equal(heard[0], 'digits: Running, 40 mini-batches done');
  const ended = { ...output({}, { headline: 'Completed' }), snapshot: completed() };
  for (let second = 0; second < 40; second += 1) {
    mock.timers.tick(1000);
    view.draw(ended, true);
    listen();
  }
  assert.deepEqual(heard.slice(3), ['digits: Completed, 100 mini-batches done']);
});

test('the note about the view has the time of the state, and can be removed', () => {
  view.setNote('not live');
  assert.equal(visibleText(find(view.node, ':scope > .pr-note')), 'not live');
  view.draw(output(), false);
  view.setNote('not live');
  assert.match(visibleText(view.node), /not live, as of \d\d:\d\d:\d\d /);
  view.setNote('');
  assert.doesNotMatch(visibleText(view.node), /not live|as of/);
});

test('a finished output shows its rows and its path', () => {
  view.draw(output(), true);
  assert.doesNotMatch(visibleText(view.node), /rows in/);
  view.draw({ ...output(), snapshot: completed({ rows: 1000, output: '/out/a.txt' }) }, true);
  assert.match(visibleText(view.node), /1,000 rows in \/out\/a.txt/);
});

test('a mini-batch opens in the grid section, with its log one click further', async () => {
  const cells = { first: 0, count: 3, per_cell: 1, cells: '###' };
  view.draw(output({ workers: [worker({ mini_batch: 2 })], grid: cells }), true);
  const grid = find<HTMLDetailsElement>(view.node, '.pr-grid');
  grid.open = false;
  click(find(view.node, '.pr-workers'), '2');
  await settle();
  assert.equal(grid.open, true);
  assert.match(visibleText(grid), /Mini-batch 2 done log copy run.try_one\(2\) close a.png/);
  click(grid, 'log');
  await settle();
  assert.equal(host.queries.at(-1)?.mini_batch, 2);
  click(grid, 'close');
  assert.doesNotMatch(visibleText(grid), /a.png/);
});

test('user text has no markup anywhere in the view', async () => {
  const fields = { name: EVIL, warnings: [EVIL], groups: [group({ message: EVIL })], output: EVIL };
  view.draw(output(fields, { headline: EVIL }), true);
  await settle();
  assert.equal(view.node.querySelectorAll('img, script').length, 0);
});

test('a disposed view is gone, with its timers and observers', () => {
  const before = observerCount();
  const other = new RunView(host);
  document.body.append(other.node);
  assert.ok(observerCount() > before);
  other.dispose();
  assert.equal(observerCount(), before);
  assert.equal(other.node.isConnected, false);
});
