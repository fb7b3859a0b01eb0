import assert from 'node:assert/strict';
import { afterEach, beforeEach, mock, test } from 'node:test';
import type { ResultRow } from '../src/model/wire';
import { Results } from '../src/views/results';
import {
  completed,
  EVIL,
  EVIL_AS_TEXT,
  FakeHost,
  output,
  preview,
  resultRow,
  resultRows,
} from './fixtures';
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
  texts,
  visibleText,
} from './page';

const PICTURE = 'data:image/png;base64,iVBORw0KGgo=';

let host: FakeHost;
let results: Results;
let opened: number[];

beforeEach(() => {
  mock.timers.enable({ apis: ['setTimeout', 'Date'], now: 1_800_000_000_000 });
  host = new FakeHost();
  opened = [];
  results = new Results(host, (miniBatch) => opened.push(miniBatch));
  show(results.node);
});

afterEach(() => {
  results.dispose();
  mock.timers.reset();
});

async function draw(rows: number): Promise<void> {
  results.draw(output({ rows }));
  await settle();
}

async function open(): Promise<void> {
  results.node.open = true;
  results.node.dispatchEvent(new Event('toggle'));
  await settle();
}

async function search(text: string): Promise<void> {
  const input = find<HTMLInputElement>(results.node, 'input');
  input.value = text;
  input.dispatchEvent(new Event('input'));
  mock.timers.tick(300);
  await settle();
}

function rowsOf(count: number, from = 0): ResultRow[] {
  return Array.from({ length: count }, (_, k) =>
    resultRow({ mini_batch: from + k, row: 0, position: 0, number: from + k }),
  );
}

test('without rows there is no part; a closed one asks for nothing', async () => {
  await draw(0);
  assert.equal(results.node.hidden, true);
  await draw(1234);
  assert.equal(visibleText(results.node), 'Results: 1,234 rows');
  mock.timers.tick(60_000);
  await draw(2000);
  assert.deepEqual(host.calls, []);
});

test('rows have columns, their item and their mini-batch, which opens', async () => {
  host.page = () =>
    resultRows([
      resultRow({ mini_batch: 1234 }),
      resultRow({ position: -1, number: -1, row: 7 }),
      resultRow({ row: 8, is_row: true, name: '/data/houses.csv', number: 4321 }),
      resultRow({ row: -1, position: 9, number: 74, status: 'failed', cells: [] }),
    ]);
  await draw(4);
  await open();
  assert.deepEqual(host.calls, ['results latest  -1,-1']);
  assert.deepEqual(texts(results.node, 'th'), ['Item', 'label', 'score']);
  assert.deepEqual(texts(results.node, 'tbody tr'), [
    'cat/0003.txt item 68, mini-batch 1,234 tabby 0.9',
    'cat/0003.txt row 7 of mini-batch 13 tabby 0.9',
    'data/houses.csv row 4,321, mini-batch 13 tabby 0.9',
    'cat/0003.txt item 74, mini-batch 13 no row: it failed',
  ]);
  click(results.node, 'mini-batch 1,234');
  assert.deepEqual(opened, [1234]);
});

test('an open part follows the run, at most every two seconds, and only if there is news', async () => {
  host.page = () => resultRows(rowsOf(2));
  await draw(2);
  await open();
  const [first] = results.node.querySelectorAll('tbody tr');
  for (let second = 0; second < 10; second += 1) {
    mock.timers.tick(1000);
    await draw(3 + second);
  }
  assert.equal(host.calls.length, 6);
  mock.timers.tick(60_000);
  await draw(12);
  assert.equal(host.calls.length, 6, 'nothing was committed');
  assertSame([results.node.querySelector('tbody tr')], [first ?? null]);
  results.draw({ ...output(), snapshot: completed({ rows: 12 }) });
  await settle();
  assert.equal(host.calls.length, 7, 'the end is asked for at once');
});

test('a part that is scrolled away, or in a hidden tab, asks for nothing until it is seen', async () => {
  await draw(2);
  setOnScreen(results.node, false);
  await open();
  mock.timers.tick(5000);
  await draw(9);
  setPageHidden(true);
  setOnScreen(results.node, true);
  await draw(10);
  assert.deepEqual(host.calls, []);
  setPageHidden(false);
  await settle();
  assert.equal(host.calls.length, 1);
});

test('pages follow one another in input order, and stay while the run goes on', async () => {
  host.page = ({ after: [last = -1] }) =>
    resultRows(rowsOf(20, last + 1), { has_more: last < 20, after: [last + 20, 0] });
  await draw(40);
  await open();
  const order = find<HTMLSelectElement>(results.node, 'select');
  order.value = 'first';
  order.dispatchEvent(new Event('change'));
  await settle();
  click(results.node, 'Show more rows');
  await settle();
  assert.deepEqual(host.calls.slice(1), ['results first  -1,-1', 'results first  19,0']);
  assert.equal(results.node.querySelectorAll('tbody tr').length, 40);
  click(results.node, 'Show more rows');
  await settle();
  assert.doesNotMatch(visibleText(results.node), /Show more/);
  mock.timers.tick(5000);
  await draw(90);
  assert.equal(host.calls.length, 4);
});

test('a search says when nothing was found, and how far it came; an old answer is dropped', async () => {
  host.page = ({ text }) => resultRows(text ? [] : rowsOf(1));
  await draw(1);
  await open();
  await search(' 0042 ');
  assert.equal(host.calls.at(-1), 'results latest 0042 -1,-1');
  assert.match(visibleText(results.node), /no item with this text or number$/);
  assert.equal(find<HTMLSelectElement>(results.node, 'select').disabled, true);
  host.page = () =>
    resultRows([], { has_more: true, after: [500, -1], note: 'Only the first 500 are searched.' });
  await search('x');
  assert.match(visibleText(results.node), /Search further Only the first 500 are searched.$/);
  const answerOf = host.results.bind(host);
  let answerLate = (): void => undefined;
  host.results = () =>
    new Promise((resolve) => {
      answerLate = () => resolve(resultRows([resultRow({ name: 'a/late.txt' })]));
    });
  await search('late');
  host.results = answerOf;
  host.page = () => resultRows([resultRow({ name: 'a/found.txt' })]);
  await search('found');
  answerLate();
  await settle();
  assert.deepEqual(texts(results.node, '.pr-item-name'), ['a/found.txt']);
});

test('items that are pictures have them beside the row, each asked for once', async () => {
  const picture = (k: number): ResultRow =>
    resultRow({ mini_batch: k, position: 0, name: `/data/${k}.JPG` });
  const table = resultRow({ mini_batch: 9, is_row: true, name: 'a.png' });
  const value = resultRow({ mini_batch: 5, position: 1, is_value: true, name: 'paths[11]' });
  const whole = resultRow({ mini_batch: 6, position: -1, is_value: true, name: 'paths' });
  host.page = () =>
    resultRows([picture(1), resultRow({ mini_batch: 2 }), table, picture(3), value, whole]);
  host.previewOf = ([mini_batch, position]) => preview({ mini_batch, position, picture: PICTURE });
  await draw(4);
  await open();
  assert.equal(host.calls[1], 'previews 1,0 3,0 5,1');
  assert.deepEqual(
    [...results.node.querySelectorAll('img')].map((image) => image.alt),
    ['Picture /data/1.JPG', 'Picture /data/3.JPG', 'Picture paths[11]'],
  );
  mock.timers.tick(3000);
  host.page = () => resultRows([picture(4), picture(1)]);
  await draw(5);
  assert.equal(host.calls.at(-1), 'previews 4,0');
  assert.equal(results.node.querySelectorAll('img').length, 2);
});

test('rows with other columns are below their own names; texts have one column', async () => {
  host.page = ({ after: [last = -1] }) =>
    last < 0
      ? resultRows([resultRow({ mini_batch: 1 })], { has_more: true, after: [1, 0] })
      : resultRows([resultRow({ mini_batch: 2, cells: ['2', 'x'] })], {
          ...{ columns: ['score', 'other'], columns_hidden: 3 },
        });
  await draw(2);
  await open();
  click(results.node, 'Show more rows');
  await settle();
  assert.deepEqual(texts(results.node, 'th'), ['Item', 'label', 'score', 'other']);
  assert.deepEqual(texts(results.node, 'td:nth-child(n + 2)'), ['tabby', '0.9', '', '', '2', 'x']);
  assert.match(visibleText(results.node), /and 3 other columns/);
  host.page = () => resultRows([resultRow({ cells: ['one text'] })], { columns: [] });
  await search('a');
  assert.deepEqual(texts(results.node, 'th'), ['Item', 'Row']);
  assert.deepEqual(texts(results.node, 'td:nth-child(2)'), ['one text']);
});

test('data of the user is only text, and an error or a note is shown', async () => {
  host.page = () =>
    resultRows([resultRow({ name: EVIL, cells: [EVIL, ''] })], {
      columns: [EVIL, 'b'],
      note: EVIL,
    });
  await draw(1);
  await open();
  assert.equal(results.node.querySelectorAll('img, script').length, 0);
  assert.ok(visibleText(results.node).includes(EVIL_AS_TEXT));
  host.error = new Error('the kernel is gone');
  mock.timers.tick(3000);
  await draw(2);
  assert.match(visibleText(results.node), /the kernel is gone$/);
});

test('a part that is gone leaves no observer, and does not ask', async () => {
  const [observers, listeners] = [observerCount(), listenerCount()];
  const other = new Results(host, () => undefined);
  show(other.node);
  other.draw(output({ rows: 3 }));
  other.dispose();
  other.node.open = true;
  other.node.dispatchEvent(new Event('toggle'));
  await settle();
  assert.deepEqual(host.calls, []);
  assert.deepEqual([observerCount(), listenerCount()], [observers, listeners]);
});
