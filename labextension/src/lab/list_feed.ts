import { type ISignal, Signal } from '@lumino/signaling';
import { errorMessage } from '../model/host';
import { FINAL_STATES, type RunList, type RunRow } from '../model/wire';
import type { RunsClient } from './client';

const LIVE_MS = 5000;
const QUIET_MS = 30_000;

/** Polls the list of runs for all of its viewers. A hidden page does not poll. */
export class ListFeed {
  /** Seconds between two polls while the list is visible. */
  refreshSeconds = 2;
  private readonly viewers = new Set<() => boolean>();
  private readonly signal = new Signal<this, void>(this);
  private timer: ReturnType<typeof setTimeout> | undefined;
  private isPolling = false;
  private isOutdated = false;
  private list: RunList | null = null;
  private lastError = '';

  constructor(private readonly client: RunsClient) {
    document.addEventListener('visibilitychange', this.refresh);
  }

  get changed(): ISignal<this, void> {
    return this.signal;
  }

  /** The newest list; null before the first response. */
  get latest(): RunList | null {
    return this.list;
  }

  /** Why the last poll failed; '' if it succeeded. */
  get problem(): string {
    return this.lastError;
  }

  /** The active runs, newest first. */
  get active(): readonly RunRow[] {
    return this.list?.runs.filter(isActive) ?? [];
  }

  /** Adds a viewer; `isVisible` returns whether it is visible now. */
  addViewer(isVisible: () => boolean): void {
    this.viewers.add(isVisible);
  }

  /** Polls now, for example after an action or when the list becomes visible. */
  readonly refresh = (): void => {
    this.isOutdated = this.isPolling; // the pending response may not include the change
    if (!this.isPolling) {
      this.schedule(0);
    }
  };

  private schedule(delay: number): void {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => void this.poll(), delay);
  }

  private async poll(): Promise<void> {
    if (this.isPolling || document.hidden) {
      return;
    }
    this.isPolling = true;
    try {
      this.list = await this.client.list();
      this.lastError = '';
    } catch (error) {
      this.lastError = errorMessage(error);
    } finally {
      this.isPolling = false;
    }
    this.signal.emit();
    this.schedule(this.isOutdated ? 0 : this.delay());
    this.isOutdated = false;
  }

  private delay(): number {
    if ([...this.viewers].some((isVisible) => isVisible())) {
      return 1000 * Math.max(1, this.refreshSeconds);
    }
    return this.active.length > 0 ? LIVE_MS : QUIET_MS;
  }
}

/** Returns whether a run has not ended. */
export function isActive(row: RunRow): boolean {
  return row.is_read && !row.is_final && !FINAL_STATES.has(row.state);
}
