import { count } from './format';
import type { CallProgress } from './wire';
import { noun, t } from './words';

/** Tells how far a call of `run()` is: `3 of 10`, `37 of 100 items`, or `12 done`. */
export function callProgressText({ done, of, unit }: CallProgress): string {
  if (of === null) {
    return t('{0} done', count(done));
  }
  const whole = unit ? `${count(of)} ${noun(unit, of)}` : count(of);
  return t('{0} of {1}', count(done), whole);
}

/** Returns the share of a call of `run()` that is done, 0 to 1; null if the total is unknown. */
export function shareOfCall({ done, of }: CallProgress): number | null {
  return of === null ? null : Math.min(1, done / Math.max(1, of));
}
