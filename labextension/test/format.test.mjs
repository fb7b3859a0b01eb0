// The page and the Python side say numbers in the same words: both read tests/contract/words.json.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { buildSync } from 'esbuild';

async function load(name) {
  const source = new URL(`../src/model/${name}.ts`, import.meta.url);
  const { outputFiles } = buildSync({
    entryPoints: [source.pathname],
    bundle: true,
    format: 'esm',
    write: false,
  });
  const code = Buffer.from(outputFiles[0].contents).toString('base64');
  return import(`data:text/javascript;base64,${code}`);
}

const { bytes, clock, duration, percent, plural, rate } = await load('format');
const { textFilter } = await load('text_filter');
const words = JSON.parse(
  readFileSync(new URL('../../tests/contract/words.json', import.meta.url), 'utf8'),
);

test('durations are said as in Python', () => {
  for (const [seconds, said] of words.duration) {
    assert.equal(duration(seconds), said);
  }
});

test('counts are said as in Python', () => {
  for (const [count, noun, said] of words.plural) {
    assert.equal(plural(count, noun), said);
  }
});

test('sizes are said as in Python', () => {
  for (const [size, said] of words.bytes) {
    assert.equal(bytes(size), said);
  }
});

test('texts are found as in Python', () => {
  for (const [wanted, text, isFound] of words.text_filter) {
    assert.equal(textFilter(wanted)(text), isFound, `${wanted} in ${text}`);
  }
});

test('a hundred percent is said when all is done, and not before', () => {
  assert.equal(percent(999, 1000), 99);
  assert.equal(percent(1000, 1000), 100);
  assert.equal(percent(0, 0), 0);
});

test('what counts on in the page has no digit that flickers', () => {
  assert.deepEqual([0.4, 12.9, 59.4, 61].map(clock), ['0 s', '12 s', '59 s', '1:01']);
});

test('no rate is no number', () => {
  assert.deepEqual([0, 4.21, 1234.5].map(rate), ['–', '4.2 items/s', '1,235 items/s']);
});
