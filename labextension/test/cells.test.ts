import assert from 'node:assert/strict';
import { test } from 'node:test';
import { cellAt, rangeOf } from '../src/model/cells';

// As in the Python module `grid`: eighths, plus 9 if any failed, 18 if any retry, 36 if any runs; from '#' on,
// without the backslash.
function encode(code: number): string {
  const character = 35 + code;
  return String.fromCharCode(character >= 92 ? character + 1 : character);
}

test('every code of the wire format is decoded', () => {
  const codes = Array.from({ length: 72 }, (_, code) => code);
  const cells = codes.map(encode).join('');
  assert.ok(!cells.includes('\\') && !cells.includes('"'));
  const grid = { first: 0, count: 72, per_cell: 1, cells };
  for (const code of codes) {
    const { eighths, failed, retrying, running } = cellAt(grid, code);
    assert.equal(eighths + 9 * Number(failed) + 18 * Number(retrying) + 36 * Number(running), code);
    assert.ok(eighths >= 0 && eighths <= 8);
  }
});

test('the cells cover all mini-batches of a grid, without gaps or overlaps', () => {
  for (const [first, count, perCell] of [
    [0, 1, 1],
    [0, 5000, 8],
    [16, 21, 4],
  ] as const) {
    const size = Math.ceil(count / perCell);
    const grid = { first, count, per_cell: perCell, cells: '#'.repeat(size) };
    const ranges = Array.from({ length: size }, (_, index) => rangeOf(grid, index));
    assert.equal(ranges[0]?.[0], first);
    assert.equal(ranges.at(-1)?.[1], first + count - 1);
    ranges.slice(1).forEach(([start], index) => {
      assert.equal(start, (ranges[index]?.[1] ?? 0) + 1);
    });
  }
});
