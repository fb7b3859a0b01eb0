import assert from 'node:assert/strict';
import { afterEach, beforeEach, mock, test } from 'node:test';
import { Log } from '../src/views/log';
import { completed, FakeHost, logWindow, output, worker } from './fixtures';
import {
  assertSame,
  click,
  find,
  listenerCount,
  observerCount,
  setOnScreen,
  setPageHidden,
  settle,
  show,
  visibleText,
} from './page';

let host: FakeHost;
let log: Log;

beforeEach(() => {
  mock.timers.enable({ apis: ['setTimeout', 'Date'] });
  host = new FakeHost();
  log = new Log(host);
  show(log.node);
  log.draw(output({ workers: [worker(), worker({ worker: 'n0w1' })] }));
});

afterEach(() => {
  log.dispose();
  mock.timers.reset();
});

function lines(...texts: string[]): string[] {
  return texts.map((text) => `n0w0 2026-11-29T12:00:00.000Z STDOUT #7 ${text}`);
}

async function seconds(count: number): Promise<void> {
  for (let second = 0; second < count; second += 1) {
    mock.timers.tick(1000);
    await settle();
  }
}

async function open(): Promise<void> {
  log.node.open = true;
  await settle();
}

function select(label: string, value: string): void {
  const node = find<HTMLSelectElement>(log.node, `select[aria-label="${label}"]`);
  node.value = value;
  node.dispatchEvent(new Event('change'));
}

test('a closed log asks for nothing', async () => {
  await seconds(5);
  assert.equal(host.queries.length, 0);
});

test('an open log asks each second for the lines after those that it has', async () => {
  host.log = () => logWindow(lines('one', 'two'), { ends: { n0w0: 120 } });
  await open();
  assert.match(visibleText(log.node), /one.*two/);
  host.log = () => logWindow(lines('three'), { ends: { n0w0: 180 } });
  await seconds(1);
  assert.deepEqual(host.queries.at(-1)?.since, { n0w0: 120 });
  assert.match(visibleText(log.node), /one.*two.*three/);
  log.node.open = false;
  const asked = host.queries.length;
  await seconds(3);
  assert.equal(host.queries.length, asked);
});

test('a log that is scrolled out of view asks for nothing until it is back', async () => {
  await open();
  setOnScreen(log.node, false);
  const asked = host.queries.length;
  await seconds(5);
  assert.equal(host.queries.length, asked);
  setOnScreen(log.node, true);
  await settle();
  assert.equal(host.queries.length, asked + 1);
});

test('a log in a hidden browser tab asks for nothing until it is shown', async () => {
  await open();
  setPageHidden(true);
  const asked = host.queries.length;
  await seconds(5);
  assert.equal(host.queries.length, asked);
  setPageHidden(false);
  await settle();
  assert.equal(host.queries.length, asked + 1);
});

test('the log of an ended run is read to its end, once', async () => {
  await open();
  log.draw({ ...output(), snapshot: completed() });
  await settle();
  const asked = host.queries.length;
  await seconds(5);
  assert.equal(host.queries.length, asked);
  log.draw(output()); // resumed
  await settle();
  assert.equal(host.queries.length, asked + 1);
});

test('a filter starts the log over; a text is searched once typing pauses', async () => {
  host.log = () => logWindow(lines('one'));
  await open();
  select('Level', 'ERROR');
  host.log = () => logWindow([]);
  await settle();
  assert.equal(host.queries.at(-1)?.level, 'ERROR');
  const input = find<HTMLInputElement>(log.node, 'input');
  for (const text of ['r', 're', 'rea']) {
    input.value = text;
    input.dispatchEvent(new Event('input'));
  }
  const asked = host.queries.length;
  mock.timers.tick(299);
  assert.equal(host.queries.length, asked);
  mock.timers.tick(1);
  await settle();
  assert.equal(host.queries.length, asked + 1);
  assert.deepEqual(host.queries.at(-1)?.since, {});
  assert.equal(host.queries.at(-1)?.text, 'rea');
  assert.match(visibleText(log.node), /no matching lines/);
});

test('the answer to an earlier question does not show up after the filter changed', async () => {
  host.log = () => logWindow(lines('of everything'));
  log.node.open = true;
  host.log = () => logWindow(lines('of errors'));
  select('Level', 'ERROR');
  await settle();
  assert.doesNotMatch(visibleText(log.node), /of everything/);
  assert.match(visibleText(log.node), /of errors/);
});

test('an empty log has a note, and a worker or mini-batch can be selected and cleared', async () => {
  await open();
  assert.match(visibleText(log.node), /no output yet/);
  log.show('n0w1', 1234);
  await settle();
  const { worker: name, mini_batch } = host.queries.at(-1) ?? {};
  assert.deepEqual([name, mini_batch], ['n0w1', 1234]);
  click(log.node, 'mini-batch 1,234 ×');
  await settle();
  assert.equal(host.queries.at(-1)?.mini_batch, -1);
  assert.doesNotMatch(visibleText(log.node), /mini-batch/);
});

test('the selected worker stays selected while workers come and go', () => {
  select('Worker', 'n0w1');
  log.draw(output({ workers: [worker({ worker: 'n0w5' })] }));
  const node = find<HTMLSelectElement>(log.node, 'select[aria-label=Worker]');
  assert.equal(node.value, 'n0w1');
  assert.deepEqual(
    [...node.options].map((option) => option.value),
    ['', 'n0w5', 'n0w1'],
  );
});

test('scrolling up pauses the log, and follow continues it', async () => {
  await open();
  const scroller = find(log.node, '.pr-log');
  Object.defineProperty(scroller, 'scrollHeight', { value: 1000 });
  scroller.scrollTop = 0;
  scroller.dispatchEvent(new Event('scroll'));
  assert.match(visibleText(log.node), /paused follow/);
  const asked = host.queries.length;
  await seconds(3);
  assert.equal(host.queries.length, asked);
  click(log.node, 'follow');
  await settle();
  assert.equal(host.queries.length, asked + 1);
  assert.doesNotMatch(visibleText(log.node), /paused|follow/);
  assertSame([document.activeElement], [scroller]);
});

test('shortened windows note their omissions', async () => {
  const fields = { has_older: true, cut_lines: 2, is_partial: true };
  host.log = () => logWindow(lines('one', 'two'), fields);
  await open();
  assert.match(
    visibleText(log.node),
    /the last 2 lines · 2 long lines truncated · the search stopped early/,
  );
});

test('an error is shown until the next answer, and polling continues', async () => {
  host.log = () => logWindow(lines('one'));
  await open();
  host.error = new Error('the server is restarting');
  await seconds(1);
  assert.match(visibleText(log.node), /the server is restarting/);
  host.error = null;
  await seconds(1);
  assert.doesNotMatch(visibleText(log.node), /restarting/);
});

test('the download link exists only with a server, and follows the worker', async () => {
  assert.equal(find(log.node, 'a').hidden, true);
  host.files = true;
  log.show('n0w1', -1);
  const link = find<HTMLAnchorElement>(log.node, 'a');
  assert.equal(link.hidden, false);
  assert.match(link.href, /worker=n0w1$/);
});

test('a disposed log leaves no timer, observer or listener', async () => {
  await open();
  const before = [observerCount(), listenerCount()];
  log.dispose();
  const asked = host.queries.length;
  setPageHidden(true);
  setPageHidden(false);
  await seconds(3);
  assert.equal(host.queries.length, asked);
  assert.deepEqual([observerCount() + 1, listenerCount() + 1], before);
});
