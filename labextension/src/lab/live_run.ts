import { Token } from '@lumino/coreutils';
import { errorMessage, type Host } from '../model/host';
import type { RunOutput } from '../model/wire';
import { t } from '../model/words';
import { RunNotFound, type RunsClient } from './client';

const LIVE_MS = 400;
const OFF_SCREEN_MS = 15_000;
const ERROR_MS = 3000;
const INTERRUPTED_MS = 5000;
const ENDED_MS = 10_000;

/** A view of a run that `LiveRun` keeps up to date. */
export interface Watcher {
  /** Returns whether the view is visible now: scrolled into view, in an open panel. */
  isOnScreen(): boolean;
  draw(output: RunOutput): void;
  /** Shows why the view is not live; '' if it is. */
  showProblem(problem: string): void;
  /** Called when the server does not have the run. */
  onMissing(): void;
}

/** Polls one run for all of its views in this page. A hidden page does not poll. */
export class LiveRun {
  private readonly watchers = new Set<Watcher>();
  private timer: ReturnType<typeof setTimeout> | undefined;
  private isPolling = false;
  private isOutdated = false;
  private version = '';
  private last: RunOutput | null = null;

  constructor(
    private readonly client: RunsClient,
    private readonly runId: string,
    private readonly release: () => void,
  ) {
    document.addEventListener('visibilitychange', this.refresh);
  }

  add(watcher: Watcher): () => void {
    this.watchers.add(watcher);
    if (this.last) {
      watcher.draw(this.last);
    }
    this.refresh();
    return () => {
      this.watchers.delete(watcher);
      if (this.watchers.size === 0) {
        clearTimeout(this.timer);
        document.removeEventListener('visibilitychange', this.refresh);
        this.release();
      }
    };
  }

  /** Polls now: a view became visible, or an action was sent to the run. */
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
    if (this.isPolling || document.hidden || this.watchers.size === 0) {
      return;
    }
    this.isPolling = true;
    let next: number | null = ERROR_MS;
    try {
      const { output, version } = await this.client.snapshot(this.runId, this.version);
      this.version = version;
      if (output) {
        this.last = output;
        this.notify((watcher) => watcher.draw(output));
      }
      this.notify((watcher) => watcher.showProblem(''));
      next = this.delay();
    } catch (error) {
      if (error instanceof RunNotFound) {
        this.notify((watcher) => watcher.onMissing());
        next = null;
      } else {
        const problem = t('not live ({0}); trying again', errorMessage(error));
        this.notify((watcher) => watcher.showProblem(problem));
      }
    } finally {
      this.isPolling = false;
    }
    if (this.isOutdated) {
      next = 0;
      this.isOutdated = false;
    }
    if (next !== null && this.watchers.size > 0) {
      this.schedule(next);
    }
  }

  /** Returns the delay (ms) before the next poll; null for an ended run without a visible view. */
  private delay(): number | null {
    if (this.last?.snapshot.state === 'Interrupted') {
      return INTERRUPTED_MS; // it may be resumed
    }
    const isOnScreen = [...this.watchers].some((watcher) => watcher.isOnScreen());
    if (this.last?.snapshot.is_final) {
      return isOnScreen ? ENDED_MS : null; // it may be resumed, also from elsewhere
    }
    return isOnScreen ? LIVE_MS : OFF_SCREEN_MS;
  }

  private notify(call: (watcher: Watcher) => void): void {
    for (const watcher of [...this.watchers]) {
      call(watcher);
    }
  }
}

/** The runs shown in this page. */
export class LiveRuns {
  private readonly runs = new Map<string, LiveRun>();

  /** Called when a run is shown for the first time; it may be new in the list. */
  onOpen: () => void = () => undefined;

  constructor(readonly client: RunsClient) {}

  /** Returns the host for the views of a run. */
  host(runId: string): Host {
    return this.client.host(runId, () => this.runs.get(runId)?.refresh());
  }

  get(runId: string): LiveRun {
    let run = this.runs.get(runId);
    if (!run) {
      run = new LiveRun(this.client, runId, () => this.runs.delete(runId));
      this.runs.set(runId, run);
      this.onOpen();
    }
    return run;
  }
}

/** The token of the shared `LiveRuns`. */
export const ILiveRuns = new Token<LiveRuns>('parallelrun-jupyter:ILiveRuns');
