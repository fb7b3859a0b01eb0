import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseAnsi, stripAnsi } from '../src/model/ansi';

/** Returns pieces as `classes:text`. */
function styled(line: string): string[] {
  return parseAnsi(line).map(({ text, classes }) => (classes ? `${classes}:${text}` : text));
}

test('colors and bold become classes until they are reset', () => {
  assert.deepEqual(
    styled('a\x1b[31mb\x1b[1mc\x1b[39md\x1b[22me\x1b[92mf\x1b[0mg\x1b[34mh\x1b[mi'),
    [
      ...[
        'a',
        'pr-ansi-1:b',
        'pr-ansi-1 pr-ansi-bold:c',
        'pr-ansi-bold:d',
        'e',
        'pr-ansi-2:f',
        'g',
      ],
      ...['pr-ansi-4:h', 'i'],
    ],
  );
  assert.deepEqual(styled('\x1b[1;35mx\x1b[;33my\x9b32mz'), [
    ...['pr-ansi-5 pr-ansi-bold:x', 'pr-ansi-3:y', 'pr-ansi-2:z'],
  ]);
});

test('of 256 colors and RGB, the basic ones are shown, and no part is taken for another code', () => {
  assert.deepEqual(styled('\x1b[38;5;1ma\x1b[38;5;12mb\x1b[38;5;200mc'), [
    ...['pr-ansi-1:a', 'pr-ansi-4:b', 'c'],
  ]);
  assert.deepEqual(styled('\x1b[38;2;10;1;31ma'), ['a']);
  assert.deepEqual(styled('\x1b[48;5;1ma\x1b[48;2;1;1;31mb'), ['a', 'b']);
  assert.deepEqual(styled('\x1b[38;5;200;1ma'), ['pr-ansi-bold:a']);
});

test('codes with colons are one code each', () => {
  assert.deepEqual(styled('\x1b[38:5:1ma'), ['pr-ansi-1:a']);
  assert.deepEqual(styled('\x1b[38:2::10:20:31ma'), ['a']);
  assert.deepEqual(styled('\x1b[4:1ma'), ['a']);
  assert.deepEqual(styled('\x1b[4:3;31ma'), ['pr-ansi-1:a']);
});

test('everything else that a terminal obeys is removed', () => {
  for (const code of [
    ...['\x1b[2J', '\x1b[1A', '\x1b[?25l', '\x1b[>4;1m', '\x1b[!p', '\x1b[0 q', '\x9b2J'],
    ...['\x1b]0;owned\x07', '\x1b]8;;http://x/\x1b\\', '\x1bPq#0\x1b\\', '\x1b_app\x1b\\'],
    ...['\x1bM', '\x1b', '\x07', '\b', '\r', '\x7f', '\x85', '\u202e', '\u2066', '\u200f'],
  ]) {
    assert.deepEqual(styled(`a${code}b`).join(''), 'ab', JSON.stringify(code));
  }
  assert.equal(stripAnsi('a\tb\nc \u{1f600} <b>'), 'a\tb\nc \u{1f600} <b>');
});

test('no mix of codes and text leaves a code or loses a character', () => {
  const codes = ['\x1b[31m', '\x1b[0;1m', '\x1b[38;2;1;2;3m', '\x9b4:1m', '\x1b]0;t\x07', '\x1b[K'];
  const words = ['', 'a', '[31m', 'x;y', '<b>&', '38', '\u00e9\u4e2d'];
  let seed = 1;
  const next = (size: number): number => {
    seed = (seed * 48271) % 2147483647;
    return seed % size;
  };
  for (let round = 0; round < 500; round += 1) {
    let line = '';
    let text = '';
    for (let length = next(12); length > 0; length -= 1) {
      const word = words[next(words.length)] ?? '';
      line += (codes[next(codes.length)] ?? '') + word;
      text += word;
    }
    assert.equal(stripAnsi(line), text, JSON.stringify(line));
    for (const piece of parseAnsi(line)) {
      assert.match(piece.classes, /^(pr-ansi-[0-7])?( ?pr-ansi-bold)?$/);
      assert.notEqual(piece.text, '');
    }
  }
});
