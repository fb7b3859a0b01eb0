/** Calls that wait for a server, in the same words as the Python module `call_texts`. */

import { count, duration, plural } from './format';
import type { Calls, Snapshot } from './wire';
import { t } from './words';

const WHOLE = 1e-6;
const LEAST_SHARE = 0.05;
const WAITS_FOR: Readonly<Record<string, string>> = {
  rate: 'rate limit',
  tokens: 'token limit',
  server: "server's limit",
  budget: 'budget',
};
const UNITS = [
  ['s', 1],
  ['min', 60],
  ['h', 3600],
] as const;
type Unit = (typeof UNITS)[number];

/** Returns what calls wait for now: the server if no limit holds them back; '' without calls. */
export function waitsFor(calls: Calls): string {
  if (calls.held_by === 'server' && calls.held_until_s > 0) {
    return t("server's pause");
  }
  if (calls.held_by) {
    return t(WAITS_FOR[calls.held_by] ?? calls.held_by);
  }
  return calls.in_flight > 0 ? t('server') : '';
}

/** Returns the calls that may be in flight at once. */
export function mostInFlight({ concurrency, window }: Calls): number {
  return window > 0 ? Math.min(concurrency, window) : concurrency;
}

/** Formats a rate beside its limit, in the unit of the limit: `4.9 / 5 calls/s`. */
export function rateOf(now: number, limit: number, things: string): string {
  const [unit, seconds] = limit > 0 ? unitOf(limit) : unitAboveOne(now);
  const most = limit > 0 ? ` / ${number(limit * seconds)}` : '';
  return `${number(now * seconds)}${most} ${t(things)}/${unit}`;
}

/** Formats an amount: `20`, `1.24`, and of small ones two digits: `0.0042`. */
export function usd(value: number): string {
  if (Number.isInteger(value)) {
    return count(value);
  }
  const decimals = value >= 1 ? 2 : Math.max(2, 1 - Math.floor(Math.log10(value)));
  return value.toLocaleString('en-US', {
    minimumFractionDigits: decimals,
    maximumFractionDigits: decimals,
  });
}

/** Formats what has been spent of a budget: `1.24 / 20 USD`. */
export function spent({ usd: value, budget_usd: budget }: Calls): string {
  return budget ? `${usd(value)} / ${usd(budget)} USD` : `${usd(value)} USD`;
}

/** Formats what the whole run is expected to cost: `4.80–5.10 USD`; `–` while that is unknown. */
export function forecast({ forecast_low_usd: low, forecast_high_usd: high }: Calls): string {
  if (low === null || high === null) {
    return '–';
  }
  const [first, last] = [usd(low), usd(high)];
  return first === last ? `~ ${last} USD` : `${first}–${last} USD`;
}

/** Formats the usual duration of a call, and that of a slow one: `210 ms, 95 %: 480 ms`. */
export function latency({ latency_s: median, latency_95_s: most }: Calls): string {
  if (median === null || most === null) {
    return '–';
  }
  return t('{0}, 95 %: {1}', milliseconds(median), milliseconds(most));
}

/** Returns sentences about what holds calls back: a pause, a limit, the budget. */
export function callNotes(snapshot: Snapshot, age: number): string[] {
  const calls = snapshot.calls ?? null; // outputs of earlier versions lack it
  if (!calls) {
    return [];
  }
  const notes = [];
  const pause = Math.ceil(calls.held_until_s - age);
  if (calls.held_by === 'server' && pause > 0) {
    const told = 'The server asked for a pause (429 or 503): calls go on in {0}.';
    notes.push(t(told, pause < 60 ? `${pause} s` : duration(pause)));
  }
  if (calls.window > 0) {
    const most = plural(calls.window, 'call');
    notes.push(t('The server was overloaded: at most {0} in flight for now.', most));
  }
  const words = snapshot.is_final
    ? 'Calls waited for {0} {1} % of the time.'
    : 'Calls wait for {0} {1} % of the time.';
  const shares = Object.entries(calls.held_shares).sort(([, a], [, b]) => b - a);
  for (const [heldBy, share] of shares) {
    if (share >= LEAST_SHARE) {
      notes.push(t(words, cause(heldBy, calls), Math.floor(100 * share)));
    }
  }
  if (calls.held_by === 'budget' && calls.budget_usd && !snapshot.is_final) {
    notes.push(budgetNote(calls.usd, calls.budget_usd));
  }
  return notes;
}

/** Tells the calls of a worker: `48 in flight, 12 waiting`. */
export function workerCalls([inFlight = 0, waiting = 0]: readonly number[]): string {
  const words = t('{0} in flight', count(inFlight));
  return waiting > 0 ? `${words}, ${t('{0} waiting', count(waiting))}` : words;
}

function budgetNote(value: number, budget: number): string {
  return value < budget / 2
    ? t('The budget of {0} USD allows few calls at once until their cost is known.', usd(budget))
    : t(
        'The budget of {0} USD is nearly spent: calls in flight may need the rest, and others wait.',
        usd(budget),
      );
}

function cause(heldBy: string, { rate_limit_per_s, token_limit_per_s }: Calls): string {
  if (heldBy === 'rate' && rate_limit_per_s > 0) {
    return `rate_limit = ${asSetting(rate_limit_per_s)}`;
  }
  if (heldBy === 'tokens' && token_limit_per_s > 0) {
    return `token_limit = ${asSetting(token_limit_per_s)}`;
  }
  return heldBy === 'budget' ? t('the budget') : t("the server's own limit");
}

/** Formats a limit as it may be written in a setting: `5/s`, `100/min`. */
function asSetting(perSecond: number): string {
  const [unit, seconds] = unitOf(perSecond);
  return `${number(perSecond * seconds)}/${unit}`;
}

/** Returns the first unit in which a rate is a whole number, else one in which it is above 1. */
function unitOf(perSecond: number): Unit {
  const isWhole = ([, seconds]: Unit): boolean => {
    const value = perSecond * seconds;
    return Math.round(value) >= 1 && Math.abs(value - Math.round(value)) < WHOLE * value;
  };
  return UNITS.find(isWhole) ?? unitAboveOne(perSecond);
}

function unitAboveOne(perSecond: number): Unit {
  const least = perSecond <= 0 ? UNITS[0] : UNITS[2];
  return UNITS.find(([, seconds]) => perSecond * seconds >= 1) ?? least;
}

function number(value: number): string {
  const isWhole = Math.abs(value - Math.round(value)) < WHOLE * Math.max(1, value);
  return isWhole || value >= 100 ? count(Math.round(value)) : value.toFixed(1);
}

function milliseconds(seconds: number): string {
  const ms = seconds * 1000;
  if (ms < 9.95) {
    return `${ms.toFixed(1)} ms`;
  }
  return ms < 999.5 ? `${Math.round(ms)} ms` : duration(seconds);
}
