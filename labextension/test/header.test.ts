import assert from 'node:assert/strict';
import { beforeEach, mock, test } from 'node:test';
import { GLYPHS, type RunState } from '../src/model/wire';
import { Header } from '../src/views/header';
import { EVIL, EVIL_AS_TEXT, output } from './fixtures';
import { assertSame, click, settle, show, texts, visibleText } from './page';

let header: Header;

beforeEach(() => {
  header = new Header(document.createElement('span'));
  show(header.node);
});

test('the header has a glyph for each state, the name, the headline and the ID', () => {
  for (const state of Object.keys(GLYPHS) as RunState[]) {
    header.draw(output({ state }, { headline: `${state}, 2 items failed` }));
    assert.equal(
      visibleText(header.node),
      `${GLYPHS[state]} digits ${state}, 2 items failed 20261129-120000-digits copy ID`,
    );
  }
});

test('a name is only text, and its tooltip has no escape codes', () => {
  header.draw(output({ name: EVIL }, { headline: EVIL }));
  assert.deepEqual(texts(header.node, '.pr-name, .pr-state'), [EVIL_AS_TEXT, EVIL_AS_TEXT]);
  assert.equal(header.node.querySelector<HTMLElement>('.pr-state')?.title, EVIL_AS_TEXT);
  assert.equal(header.node.querySelectorAll('img').length, 0);
});

test('the ID is copied, and the button confirms it for two seconds', async () => {
  mock.timers.enable({ apis: ['setTimeout'] });
  const copied: string[] = [];
  const clipboard = { writeText: async (text: string) => void copied.push(text) };
  Object.defineProperty(globalThis, 'navigator', { value: { clipboard }, configurable: true });
  header.draw(output());
  click(header.node, 'copy ID');
  await settle();
  assert.deepEqual(copied, ['20261129-120000-digits']);
  assert.match(visibleText(header.node), /copied$/);
  mock.timers.tick(2000);
  assert.match(visibleText(header.node), /copy ID$/);
  mock.timers.reset();
});

test('without a clipboard, the button shows the ID', async () => {
  mock.timers.enable({ apis: ['setTimeout'] });
  Object.defineProperty(globalThis, 'navigator', { value: {}, configurable: true });
  header.draw(output());
  click(header.node, 'copy ID');
  await settle();
  assert.equal(visibleText(header.node).split('20261129-120000-digits').length, 3);
  mock.timers.reset();
});

test('an unchanged header leaves the page alone', () => {
  header.draw(output());
  const pieces = (): Node[] =>
    [...header.node.querySelectorAll('*')].flatMap((node) => [...node.childNodes]);
  const before = pieces();
  header.draw(output());
  assertSame(pieces(), before);
});
