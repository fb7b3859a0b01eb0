import assert from 'node:assert/strict';
import { beforeEach, test } from 'node:test';
import { FailedItemList } from '../src/views/failed_items';
import { EVIL, EVIL_AS_TEXT, FakeHost, failedItem, preview } from './fixtures';
import { assertSame, click, find, settle, show, texts, visibleText } from './page';

const PICTURE = 'data:image/png;base64,iVBORw0KGgo=';

let host: FakeHost;
let list: FailedItemList;
let opened: number[];

beforeEach(() => {
  host = new FakeHost();
  opened = [];
  list = new FailedItemList(host, 'ValueError', (miniBatch) => opened.push(miniBatch));
  show(list.node);
});

async function fetch(total: number): Promise<void> {
  list.draw(total);
  await list.fetch();
  await settle();
}

test('a group without failed items asks for nothing and is hidden', async () => {
  await fetch(0);
  assert.deepEqual(host.calls, []);
  assert.equal(list.node.hidden, true);
});

test('an item shows its path, message, place and tries; its mini-batch opens', async () => {
  host.items = () => ({
    items: [failedItem({ mini_batch: 1234, tries: 3 }), failedItem({ position: 4, is_row: true })],
    has_more: false,
  });
  await fetch(2);
  assert.match(visibleText(list.node), /^2 failed items/);
  assert.deepEqual(texts(list.node, 'li'), [
    '/data/0003.png bad image item 3 of mini-batch 1,234 , 3 tries',
    '/data/0003.png bad image row 4 of mini-batch 13',
  ]);
  click(list.node, '1,234');
  assert.deepEqual(opened, [1234]);
});

test('pages follow one another, and each item is previewed once', async () => {
  const all = Array.from({ length: 50 }, (_, k) => failedItem({ mini_batch: k }));
  host.items = ([after]) => ({
    items: all.slice(after + 1, after + 21),
    has_more: after + 21 < all.length,
  });
  await fetch(50);
  const [first] = list.node.querySelectorAll('li');
  click(list.node, 'Show more items');
  await settle();
  click(list.node, 'Show more items');
  await settle();
  assert.deepEqual(
    host.calls.filter((call) => call.startsWith('items')),
    ['items ValueError -1,-1', 'items ValueError 19,3', 'items ValueError 39,3'],
  );
  const places = host.calls.filter((call) => call.startsWith('previews'));
  assert.equal(new Set(places.join(' ').match(/\d+,\d+/g)).size, 50);
  assert.equal(places.join(' ').match(/\d+,\d+/g)?.length, 50);
  assert.equal(list.node.querySelectorAll('li').length, 50);
  assertSame([list.node.querySelector('li')], [first ?? null]);
  assert.doesNotMatch(visibleText(list.node), /Show more/);
});

test('items that a page leaves out are counted', async () => {
  host.items = () => ({ items: [failedItem()], has_more: false });
  await fetch(1201);
  assert.match(visibleText(list.node), /and 1,200 other items: run.failed_items\(\) lists all/);
});

test('a picture, a row and a text are shown, each with the reason for what is missing', async () => {
  const items = [0, 1, 2, 3, 4].map((position) => failedItem({ position }));
  host.items = () => ({ items, has_more: false });
  const shown = [
    preview({ position: 0, outcome: 'partial', detail: 'image is truncated', picture: PICTURE }),
    preview({
      position: 1,
      columns: [
        ['price', '3.5'],
        ['city', 'Bonn'],
      ],
      columns_hidden: 2,
    }),
    preview({ position: 2, text: 'first line\nsecond' }),
    preview({ position: 3, outcome: 'missing' }),
    preview({ position: 4, outcome: 'crashed' }),
  ];
  host.previewOf = ([, position]) => shown[position] ?? preview();
  await fetch(5);
  const rows = [...list.node.querySelectorAll('li')];
  const image = find<HTMLImageElement>(rows[0] as Element, 'img');
  assert.deepEqual([image.src, image.alt], [PICTURE, 'Picture /data/0003.png']);
  assert.match(visibleText(rows[0] as Element), /shown in part: image is truncated/);
  assert.match(visibleText(rows[1] as Element), /price 3.5 city Bonn and 2 other columns/);
  assert.equal(find(rows[2] as Element, 'pre').textContent, 'first line\nsecond');
  assert.match(visibleText(rows[3] as Element), /the file no longer exists/);
  assert.match(visibleText(rows[4] as Element), /cannot be shown: the process that read it ended/);
  assert.equal(list.node.querySelectorAll('img').length, 1);
});

test('data of the user is only text, and only pictures become pictures', async () => {
  host.items = () => ({ items: [failedItem({ name: EVIL, message: EVIL })], has_more: false });
  host.previewOf = () =>
    preview({
      ...{ outcome: 'partial', detail: EVIL, text: EVIL, columns: [[EVIL, EVIL]] },
      picture: 'data:image/svg+xml;base64,PHN2Zz4=',
    });
  await fetch(1);
  assert.equal(list.node.querySelectorAll('img, script').length, 0);
  assert.equal(visibleText(list.node).split(EVIL_AS_TEXT).length - 1, 6);
});

test('an error is shown; once a resume runs the items again, they are gone', async () => {
  host.error = new Error('the kernel is gone');
  await fetch(3);
  assert.match(visibleText(list.node), /the kernel is gone/);
  host.error = null;
  host.items = () => ({ items: [failedItem()], has_more: false });
  await fetch(1);
  assert.equal(list.node.querySelectorAll('li').length, 1);
  await fetch(0);
  assert.equal(list.node.querySelectorAll('li').length, 0);
  assert.equal(list.node.hidden, true);
});
