import { type ISignal, Signal } from '@lumino/signaling';
import { sentence } from '../model/host';
import { FINAL_STATES, type RunList, type RunRow } from '../model/wire';
import type { RunsClient } from './client';

const LIVE_MS = 5000;
const QUIET_MS = 30_000;

/** Asks the server for the list of runs, once for all that show it. Hidden pages ask nothing. */
export class ListFeed {
  /** Seconds between two looks while somebody looks at the list. */
  refreshSeconds = 2;
  private readonly lookers = new Set<() => boolean>();
  private readonly signal = new Signal<this, void>(this);
  private timer: ReturnType<typeof setTimeout> | undefined;
  private isAsking = false;
  private list: RunList | null = null;
  private trouble = '';

  constructor(private readonly client: RunsClient) {
    document.addEventListener('visibilitychange', this.hurry);
  }

  get changed(): ISignal<this, void> {
    return this.signal;
  }

  /** The last list; null before there was any. */
  get latest(): RunList | null {
    return this.list;
  }

  /** Why the list is not live; '' while it is. */
  get problem(): string {
    return this.trouble;
  }

  /** The runs that have not ended, newest first. */
  get living(): readonly RunRow[] {
    return this.list?.runs.filter(isLive) ?? [];
  }

  /** Takes part in the looking; `isLooking` says whether somebody sees it now. */
  watch(isLooking: () => boolean): void {
    this.lookers.add(isLooking);
  }

  /** Asks now: something was begun, or is looked at. */
  readonly hurry = (): void => {
    if (!this.isAsking) {
      clearTimeout(this.timer);
      this.timer = setTimeout(() => void this.ask(), 0);
    }
  };

  private async ask(): Promise<void> {
    if (this.isAsking || document.hidden) {
      return;
    }
    this.isAsking = true;
    try {
      this.list = await this.client.list();
      this.trouble = '';
    } catch (error) {
      this.trouble = sentence(error);
    } finally {
      this.isAsking = false;
    }
    this.signal.emit();
    clearTimeout(this.timer);
    this.timer = setTimeout(() => void this.ask(), this.pause());
  }

  private pause(): number {
    if ([...this.lookers].some((isLooking) => isLooking())) {
      return 1000 * Math.max(1, this.refreshSeconds);
    }
    return this.living.length > 0 ? LIVE_MS : QUIET_MS;
  }
}

/** Whether a run has not ended. */
export function isLive(row: RunRow): boolean {
  return row.is_read && !row.is_final && !FINAL_STATES.has(row.state);
}
