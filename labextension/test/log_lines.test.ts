import assert from 'node:assert/strict';
import { beforeEach, test } from 'node:test';
import { LogLines } from '../src/views/log_lines';
import { EVIL, EVIL_AS_TEXT, logWindow } from './fixtures';
import { assertSame, show } from './page';

let lines: LogLines;

beforeEach(() => {
  lines = new LogLines(() => undefined);
  show(lines.node);
});

function line(text: string, level = 'STDOUT', second = '00', worker = 'n0w0'): string {
  return `${worker} 2026-11-29T12:00:${second}.000Z ${level} #7 ${text}`;
}

function shown(): string[] {
  return [...lines.node.children].map((child) => child.textContent ?? '');
}

test('a line is shown without its date, and only as text', () => {
  lines.add(logWindow([line(EVIL), line('\x1b[32mok\x1b[0m fine')]));
  assert.deepEqual(shown(), [
    `n0w0 12:00:00.000Z STDOUT #7 ${EVIL_AS_TEXT}`,
    'n0w0 12:00:00.000Z STDOUT #7 ok fine',
  ]);
  assert.equal(lines.node.querySelectorAll('img, script').length, 0);
  assert.equal(lines.node.querySelector('.pr-ansi-2')?.textContent, 'ok');
});

test('warnings, errors and stderr stand out; a line that only contains the word does not', () => {
  lines.add(
    logWindow([
      ...[line('a', 'ERROR'), line('b', 'CRITICAL'), line('c', 'WARNING'), line('d', 'STDERR')],
      ...[line('e', 'INFO'), line('ERROR in f', 'STDOUT')],
    ]),
  );
  const severe = [...lines.node.children].map((child) => child.className === 'pr-grave');
  assert.deepEqual(severe, [true, true, true, true, false, false]);
});

test('the last thousand lines are kept', () => {
  for (let start = 0; start < 1200; start += 150) {
    lines.add(logWindow(Array.from({ length: 150 }, (_, index) => line(`line ${start + index}`))));
  }
  assert.equal(lines.node.children.length, 1000);
  assert.equal(lines.count, 1000);
  assert.match(shown()[0] ?? '', /line 200$/);
  assert.match(shown().at(-1) ?? '', /line 1199$/);
});

test('lines that stay are not rebuilt, and skipped ones are counted', () => {
  lines.add(logWindow([line('first')]));
  const first = lines.node.firstElementChild;
  lines.add(logWindow([line('later')], { skipped_lines: 4800 }));
  assertSame([lines.node.firstElementChild], [first]);
  assert.equal(shown()[1], '4,800 lines skipped');
  assert.match(shown()[2] ?? '', /later$/);
});

test('nothing counts as skipped before the first line', () => {
  lines.add(logWindow([line('first')], { skipped_lines: 10 }));
  assert.equal(shown().length, 1);
});

test('a progress bar is one line, until the next line of its worker and level', () => {
  lines.add(logWindow([line('10 %\r', 'STDERR', '01')]));
  lines.add(logWindow([line('other', 'STDERR', '02', 'n0w1'), line('print', 'STDOUT', '02')]));
  assert.match(shown()[0] ?? '', /10 %/);
  lines.add(logWindow([line('20 %\r', 'STDERR', '02')]));
  assert.deepEqual(
    shown().map((text) => text.split('#7 ')[1]),
    ['other', 'print', '20 %'],
  );
  lines.add(logWindow([line('done', 'STDERR', '03')]));
  assert.deepEqual(
    shown().map((text) => text.split('#7 ')[1]),
    ['other', 'print', 'done'],
  );
  assert.equal(lines.count, 3);
});

test('several bars with one time stamp are shown together and replaced together', () => {
  lines.add(logWindow([line('a 1 %\r', 'STDERR', '01'), line('b 1 %\r', 'STDERR', '01')]));
  assert.equal(lines.count, 2);
  lines.add(logWindow([line('a 2 %\r', 'STDERR', '02'), line('b 2 %\r', 'STDERR', '02')]));
  assert.deepEqual(
    shown().map((text) => text.split('#7 ')[1]),
    ['a 2 %', 'b 2 %'],
  );
});

test('the end counts as reached within some pixels', () => {
  Object.defineProperty(lines.node, 'scrollHeight', { value: 1000 });
  lines.node.scrollTop = 800; // the height is 100
  assert.equal(lines.isAtEnd, false);
  lines.node.scrollTop = 890;
  assert.equal(lines.isAtEnd, true);
});
