// The page and the Python views use the same words: both are tested with tests/contract/words.json.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import words from '../../tests/contract/words.json';
import {
  bytes,
  clock,
  dayAndTime,
  duration,
  megabytes,
  percent,
  plural,
  rate,
  span,
} from '../src/model/format';

test('durations read as in Python', () => {
  for (const [seconds, text] of words.duration) {
    assert.equal(duration(Number(seconds)), text);
  }
});

test('counts read as in Python', () => {
  for (const [value, noun, text] of words.plural) {
    assert.equal(plural(Number(value), String(noun)), text);
  }
});

test('sizes read as in Python', () => {
  for (const [size, text] of words.bytes) {
    assert.equal(bytes(Number(size)), text);
  }
});

test('a percentage is 100 only if everything is done, and never falls', () => {
  for (const total of [1, 3, 7, 1000]) {
    const shares = Array.from({ length: total + 1 }, (_, done) => percent(done, total));
    assert.deepEqual(
      shares,
      [...shares].sort((left, right) => left - right),
    );
    assert.equal(shares.indexOf(100), total);
  }
  assert.equal(percent(0, 0), 0);
});

test('a running clock has no digits that flicker', () => {
  assert.deepEqual([0, 0.4, 12.9, 59.4, 59.6, 61].map(clock), [
    ...['0 s', '0 s', '12 s', '59 s', '1:00', '1:01'],
  ]);
});

test('an interval names its unit once, and one time if both ends are equal', () => {
  assert.deepEqual(
    [span(5, 8), span(50, 80), span(7.2, 7.9), span(-3, 4), span(100, 200)],
    ['5–8 s', '50 s–1:20', '~ 7 s', '0–4 s', '1:40–3:20'],
  );
});

test('a run without progress has no rate', () => {
  assert.deepEqual([0, 4.21, 1234.5].map(rate), ['–', '4.2 items/s', '1,235 items/s']);
});

test('memory is in MB up to a GB', () => {
  assert.deepEqual([0, 512, 999, 1024, 6144].map(megabytes), [
    ...['0 MB', '512 MB', '999 MB', '1.0 GB', '6.0 GB'],
  ]);
});

test('a date has two digits for each of its fields', () => {
  const local = new Date(2026, 0, 5, 7, 8).getTime() / 1000;
  assert.equal(dayAndTime(local), '2026-01-05 07:08');
});
