import type { Failures, Grid, LogWindow, MiniBatchDetail } from './wire';

/**
 * Which lines of the log are wanted; `since` has how far each worker's log was read before. `text`
 * is looked for without regard to case; `*` in it stands for any characters, `\*` for a star.
 */
export interface LogQuestion {
  readonly worker: string;
  readonly mini_batch: number;
  readonly level: string;
  readonly text: string;
  readonly lines: number;
  readonly since: Readonly<Record<string, number>>;
}

/** Answers what a view asks beyond its snapshot: the server in Lab, the comm in a widget. */
export interface Host {
  logs(question: LogQuestion): Promise<LogWindow>;
  failures(group: string): Promise<Failures>;
  miniBatch(miniBatch: number): Promise<MiniBatchDetail>;
  grid(first: number, count: number): Promise<Grid>;
  /** What can be done to the run from here; null where nothing can. */
  readonly actions: Actions | null;
  /** Where the whole log of a worker (`''`: of all) can be had; null where it cannot. */
  logFile(worker: string): string | null;
  /** Where the final file can be had. */
  resultFile(): string | null;
}

export interface Actions {
  cancel(drain: boolean): Promise<void>;
  /** With a `group`, only what failed in it. */
  resume(failedOnly: boolean, group: string): Promise<void>;
}

/** What went wrong, as a sentence. */
export function sentence(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
