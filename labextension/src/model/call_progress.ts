import { count } from './format';
import { noun, t } from './words';

/** Tells how far a call of `run()` is: `3 of 10`, `37 of 100 items`, or `12 done`. */
export function callProgressText([done = 0, of = -1, countsItems = 0]: readonly number[]): string {
  if (of < 0) {
    return t('{0} done', count(done));
  }
  const whole = countsItems ? `${count(of)} ${noun('item', of)}` : count(of);
  return t('{0} of {1}', count(done), whole);
}

/** Returns the share of a call of `run()` that is done, 0 to 1; null if it is unknown. */
export function shareOfCall([done = 0, of = -1]: readonly number[]): number | null {
  return of < 0 ? null : Math.min(1, done / Math.max(1, of));
}
