import assert from 'node:assert/strict';
import { beforeEach, test } from 'node:test';
import type { Snapshot } from '../src/model/wire';
import { Bar } from '../src/views/bar';
import { completed, output, snapshot } from './fixtures';
import { find, visibleText } from './page';

let bar: Bar;

beforeEach(() => {
  bar = new Bar();
});

function shown(of: Partial<Snapshot> = {}): string {
  bar.draw({ ...output(), snapshot: snapshot(of) });
  return visibleText(bar.node);
}

function track(name: string): string | null {
  return find(bar.node, '[role=progressbar]').getAttribute(name);
}

test('the legend counts each mini-batch once', () => {
  assert.equal(shown(), '40 % ✓ 40 done ✗ 0 failed ▶ 2 running ○ 58 left');
  assert.equal(
    shown({ failed: 5, left: 55, retrying: 3, items_left: 550 }),
    '45 % ✓ 40 done ✗ 5 failed ▶ 2 running ○ 50 left ↻ 3 to run again',
  );
});

test('the share is that of the items, of which a mini-batch may have some', () => {
  const waiting = { mini_batches: 1, succeeded: 0, running: 0, left: 1, retrying: 1 };
  const shownNow = shown({ ...waiting, items: 20, items_left: 2 });
  assert.equal(shownNow, '90 % ✓ 0 done ✗ 0 failed ▶ 0 running ○ 0 left ↻ 1 to run again');
  assert.equal(track('aria-valuetext'), '90 percent, 0 of 1 mini-batches');
});

test('after the end nothing is to be retried', () => {
  const end = { state: 'Failed', is_final: true, running: 0, left: 60, retrying: 3 } as const;
  assert.equal(shown(end), '40 % ✓ 40 done ✗ 0 failed ▶ 0 running ○ 60 left');
});

test('the bar is filled in proportion', () => {
  shown({ failed: 5, left: 55, retrying: 3 });
  const widths = [...bar.node.querySelectorAll<HTMLElement>('.pr-fill')].map((fill) => [
    fill.className,
    fill.style.width,
  ]);
  assert.deepEqual(widths, [
    ['pr-fill pr-done', '40.000%'],
    ['pr-fill pr-failed', '5.000%'],
    ['pr-fill pr-running', '2.000%'],
    ['pr-fill pr-retrying', '3.000%'],
  ]);
});

test('screen readers get the same numbers', () => {
  shown({ failed: 5, left: 55, items_left: 550 });
  assert.equal(track('aria-valuenow'), '45');
  assert.equal(track('aria-valuetext'), '45 percent, 45 of 100 mini-batches, 5 failed');
});

test('while the inputs are being listed there is no percentage', () => {
  shown();
  assert.match(shown({ plan_finished: false }), /^listing /);
  assert.equal(track('aria-valuenow'), null);
  assert.match(track('aria-valuetext') ?? '', /^listing the inputs, 40 of 100 mini-batches so far/);
  assert.equal(find<HTMLElement>(bar.node, '.pr-fill').style.width, '0px');
});

test('a run is 100 % only when all is done, and also if there was nothing to do', () => {
  assert.match(shown({ mini_batches: 1000, succeeded: 999, left: 1, items_left: 1 }), /^99 %/);
  assert.match(shown(completed({ mini_batches: 0, succeeded: 0 })), /^100 %/);
  assert.match(shown({ mini_batches: 0, succeeded: 0, left: 0, items: 0, items_left: 0 }), /^0 %/);
});
