import assert from 'node:assert/strict';
import { test } from 'node:test';
import words from '../../tests/contract/words.json';
import { textFilter } from '../src/model/text_filter';

test('texts match as in Python', () => {
  for (const [pattern, text, matches] of words.text_filter) {
    assert.equal(textFilter(String(pattern))(String(text)), matches, `${pattern} in ${text}`);
  }
});

test('every text matches itself, its parts, and itself with stars', () => {
  for (const text of ['read 7.png', 'a+b (c)', '[x]^$', 'Übung']) {
    for (let start = 0; start < text.length; start += 1) {
      const part = text.slice(start, start + 3);
      assert.ok(textFilter(part.toUpperCase())(text), part);
      assert.ok(textFilter(`${text.slice(0, start)}*${part.slice(-1)}`)(text), part);
    }
    assert.ok(!textFilter(`${text}!`)(text));
  }
});

test('a search for many stars in a long line takes no time', () => {
  const began = performance.now();
  assert.equal(textFilter(`${'a*'.repeat(500)}b`)('a'.repeat(100_000)), false);
  assert.ok(performance.now() - began < 500);
});
