import { Token } from '@lumino/coreutils';
import { type Host, sentence } from '../model/host';
import type { RunOutput } from '../model/wire';
import { NotHere, type RunsClient } from './client';

const LIVE_MS = 400;
const ASIDE_MS = 15_000;
const LOST_MS = 3000;
const INTERRUPTED_MS = 5000;
const ENDED_MS = 10_000;

/** A view of a run, as far as the one who asks the server needs to know it. */
export interface Watcher {
  /** Whether it can be seen now: scrolled in, in a panel that is open. */
  isSeen(): boolean;
  draw(output: RunOutput): void;
  /** Says what keeps the view from being live; '' when nothing does any more. */
  say(problem: string): void;
  /** The server does not have the run: something else must draw it. */
  gone(): void;
}

/** Asks the server about one run for all views of it in this page. Hidden pages ask nothing. */
export class LiveRun {
  private readonly watchers = new Set<Watcher>();
  private timer: ReturnType<typeof setTimeout> | undefined;
  private isAsking = false;
  private seen = '';
  private last: RunOutput | null = null;

  constructor(
    private readonly client: RunsClient,
    private readonly runId: string,
    private readonly release: () => void,
  ) {
    document.addEventListener('visibilitychange', this.hurry);
  }

  add(watcher: Watcher): () => void {
    this.watchers.add(watcher);
    if (this.last) {
      watcher.draw(this.last);
    }
    this.hurry();
    return () => {
      this.watchers.delete(watcher);
      if (this.watchers.size === 0) {
        clearTimeout(this.timer);
        document.removeEventListener('visibilitychange', this.hurry);
        this.release();
      }
    };
  }

  /** Asks now: a view has come into sight, or something was done to the run. */
  readonly hurry = (): void => {
    if (!this.isAsking) {
      this.askIn(0);
    }
  };

  private askIn(delay: number): void {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => void this.ask(), delay);
  }

  private async ask(): Promise<void> {
    if (this.isAsking || document.hidden || this.watchers.size === 0) {
      return;
    }
    this.isAsking = true;
    let next: number | null = LOST_MS;
    try {
      const { output, version } = await this.client.look(this.runId, this.seen);
      this.seen = version;
      if (output) {
        this.last = output;
        this.tell((watcher) => watcher.draw(output));
      }
      this.tell((watcher) => watcher.say(''));
      next = this.pause();
    } catch (error) {
      if (error instanceof NotHere) {
        this.tell((watcher) => watcher.gone());
        next = null;
      } else {
        const problem = `not live (${sentence(error)}); trying again`;
        this.tell((watcher) => watcher.say(problem));
      }
    } finally {
      this.isAsking = false;
    }
    if (next !== null && this.watchers.size > 0) {
      this.askIn(next);
    }
  }

  /** How long to wait; null until a view comes into sight, when the run has ended. */
  private pause(): number | null {
    if (this.last?.snapshot.state === 'Interrupted') {
      return INTERRUPTED_MS; // it may be resumed
    }
    const isSeen = [...this.watchers].some((watcher) => watcher.isSeen());
    if (this.last?.snapshot.is_final) {
      return isSeen ? ENDED_MS : null; // it may be resumed, here or from anywhere else
    }
    return isSeen ? LIVE_MS : ASIDE_MS;
  }

  private tell(say: (watcher: Watcher) => void): void {
    for (const watcher of [...this.watchers]) {
      say(watcher);
    }
  }
}

/** The runs that this page looks at. */
export class LiveRuns {
  private readonly runs = new Map<string, LiveRun>();

  /** Called when a run is looked at for the first time: there may be a new one. */
  opened: () => void = () => undefined;

  constructor(readonly client: RunsClient) {}

  /** Answers the questions of the views of a run. */
  host(runId: string): Host {
    return this.client.host(runId, () => this.runs.get(runId)?.hurry());
  }

  find(runId: string): LiveRun {
    let run = this.runs.get(runId);
    if (!run) {
      run = new LiveRun(this.client, runId, () => this.runs.delete(runId));
      this.runs.set(runId, run);
      this.opened();
    }
    return run;
  }
}

/** The one who asks the server, for everything in the page that draws runs. */
export const ILiveRuns = new Token<LiveRuns>('parallelrun-jupyter:ILiveRuns');
