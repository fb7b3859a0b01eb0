import assert from 'node:assert/strict';
import { afterEach, beforeEach, test } from 'node:test';
import type { Moment } from '../src/model/recording';
import { Playback } from '../src/views/playback';
import { output } from './fixtures';
import { find, setOnScreen, show, visibleText } from './page';

let now = 1000;
let next: ((now: number) => void) | null = null;
let shown: [number, boolean][];
let playback: Playback;

const MOMENTS: Moment[] = [0, 10_000, 20_000, 40_000].map((position) => ({
  position,
  output: output({ succeeded: position / 1000 }),
}));

Object.assign(globalThis, {
  requestAnimationFrame: (call: (now: number) => void): void => {
    next = call;
  },
});

/** Lets time pass, in steps as a browser makes them. */
function pass(ms: number): void {
  for (let passed = 0; passed < ms; passed += 100) {
    now += 100;
    const call = next;
    next = null;
    call?.(now);
  }
}

function toggle(): HTMLButtonElement {
  return find(playback.node, 'button') as HTMLButtonElement;
}

beforeEach(() => {
  shown = [];
  next = null;
  playback = new Playback(MOMENTS, ({ output: state }, isJump) =>
    shown.push([state.snapshot.succeeded, isJump]),
  );
  show(playback.node);
});

afterEach(() => playback.dispose());

test('it opens at the end, at a speed that takes 20 seconds or less', () => {
  assert.deepEqual(shown, [[40, false]]);
  assert.match(visibleText(playback.node), /Play/);
  assert.match(visibleText(playback.node), /40 s \/ 40 s/);
  assert.equal((find(playback.node, 'select') as HTMLSelectElement).value, '2');
});

test('it plays from the start to the end, and each moment is shown once', () => {
  toggle().click();
  assert.match(visibleText(playback.node), /Pause/);
  pass(21_000);
  const steps = shown.slice(1).map(([state]) => state);
  assert.deepEqual(steps, [0, 10, 20, 40, 40]); // the last one again, with all that was fetched
  assert.deepEqual(shown.at(-1), [40, true]);
  assert.match(visibleText(playback.node), /Play/);
});

test('a pause keeps the place', () => {
  toggle().click();
  pass(6000);
  toggle().click();
  assert.match(visibleText(playback.node), /Continue/);
  const { length } = shown;
  pass(5000);
  assert.equal(shown.length, length);
  toggle().click();
  pass(16_000);
  assert.equal(shown.at(-1)?.[0], 40);
});

test('the slider moves in time, and stops there', () => {
  const slider = find(playback.node, 'input') as HTMLInputElement;
  slider.value = '300'; // of 1000
  slider.dispatchEvent(new Event('input'));
  assert.deepEqual(shown.at(-1), [10, true]);
  assert.equal(slider.getAttribute('aria-valuetext'), '12 s of 40 s');
});

test('nothing advances off screen', () => {
  toggle().click();
  pass(1000);
  setOnScreen(playback.node, false);
  pass(30_000);
  assert.deepEqual(shown.at(-1)?.[0], 0);
  setOnScreen(playback.node, true);
  pass(6000);
  assert.deepEqual(shown.at(-1)?.[0], 10);
});
