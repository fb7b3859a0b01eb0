/** Formats numbers, times and percentages for display, in the same words as the Python views. */

import { noun, t } from './words';

const NUMBERS = new Intl.NumberFormat('en-US');

export function count(value: number): string {
  return NUMBERS.format(value);
}

export function plural(value: number, singular: string): string {
  return `${count(value)} ${noun(singular, value)}`;
}

/** Formats a duration: `0.4 s`, `12 s`, `3:05` or `2:03:05`. */
export function duration(seconds: number): string {
  if (seconds < 9.95) {
    return `${Math.max(seconds, 0).toFixed(1)} s`;
  }
  const whole = Math.round(seconds);
  if (whole < 60) {
    return `${whole} s`;
  }
  const two = (value: number): string => String(value).padStart(2, '0');
  const minutes = Math.floor(whole / 60);
  if (minutes < 60) {
    return `${minutes}:${two(whole % 60)}`;
  }
  return `${Math.floor(minutes / 60)}:${two(minutes % 60)}:${two(whole % 60)}`;
}

/** Formats a running duration in whole seconds, so that no digit flickers. */
export function clock(seconds: number): string {
  return seconds < 59.5 ? `${Math.floor(seconds)} s` : duration(seconds);
}

/** Formats an interval in seconds: `5–8 s`, `50 s–1:20`, or `~ 5 s` if both ends are equal. */
export function span(low: number, high: number): string {
  const [first, last] = [clock(Math.max(0, low)), clock(Math.max(0, high))];
  if (first === last) {
    return `~ ${last}`;
  }
  const isSeconds = first.endsWith(' s') && last.endsWith(' s');
  return `${isSeconds ? first.slice(0, -2) : first}–${last}`;
}

export function rate(perSecond: number): string {
  if (perSecond < 0.05) {
    return '–';
  }
  const value = perSecond >= 10 ? count(Math.round(perSecond)) : perSecond.toFixed(1);
  return t('{0} items/s', value);
}

export function megabytes(value: number): string {
  return value < 1000 ? `${count(value)} MB` : `${(value / 1024).toFixed(1)} GB`;
}

/** Formats a size: `712 bytes`, `4.0 kB`, `3.4 MB` or `12 GB`, in units of 1024. */
export function bytes(value: number): string {
  if (value < 1024) {
    return plural(value, 'byte');
  }
  const units = ['kB', 'MB', 'GB', 'TB'];
  let [size, unit] = [value / 1024, 0];
  while (size >= 1023.5 && unit < units.length - 1) {
    size /= 1024;
    unit += 1;
  }
  return `${size < 9.95 ? size.toFixed(1) : count(Math.round(size))} ${units[unit]}`;
}

/** Returns a whole percentage, rounded down: 100 only if `part` equals `whole`. */
export function percent(part: number, whole: number): number {
  return whole > 0 ? Math.floor((100 * part) / whole) : 0;
}

/** Formats the local time of day. */
export function timeOfDay(epochSeconds: number): string {
  return new Date(epochSeconds * 1000).toLocaleTimeString([], { hour12: false });
}

/** Formats the local date and time. */
export function dayAndTime(epochSeconds: number): string {
  const date = new Date(epochSeconds * 1000);
  const two = (value: number): string => String(value).padStart(2, '0');
  const day = `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())}`;
  return `${day} ${two(date.getHours())}:${two(date.getMinutes())}`;
}
