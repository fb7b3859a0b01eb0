import type {
  FailedItems,
  Failures,
  Grid,
  LogWindow,
  MiniBatchDetail,
  Preview,
  ResultRows,
} from './wire';

/**
 * Selects log lines. `since` maps each worker to the log offset (bytes) already read. `text` is
 * matched without regard to case; `*` matches any characters, `\*` a literal asterisk.
 */
export interface LogQuery {
  readonly worker: string;
  readonly mini_batch: number;
  readonly level: string;
  readonly text: string;
  readonly lines: number;
  readonly since: Readonly<Record<string, number>>;
}

/**
 * Selects rows: the latest ones, those in input order after a place (`[-1, -1]`: the first), or those of
 * items with this number or with this text in their path.
 */
export interface RowQuery {
  readonly order: 'latest' | 'first';
  readonly text: string;
  readonly after: readonly number[];
}

/** Provides data beyond the snapshot: from the server in Lab, over the comm in a widget. */
export interface Host {
  logs(query: LogQuery): Promise<LogWindow>;
  failures(group: string): Promise<Failures>;
  /** Returns the failed items of a group that follow a mini-batch and position; [-1, -1]: the first. */
  failedItems(group: string, after: readonly [number, number]): Promise<FailedItems>;
  results(query: RowQuery): Promise<ResultRows>;
  /** Returns the previews of items, given as mini-batch and position. */
  previews(items: readonly (readonly [number, number])[]): Promise<readonly Preview[]>;
  miniBatch(miniBatch: number): Promise<MiniBatchDetail>;
  grid(first: number, count: number): Promise<Grid>;
  /** Actions on the run; null in a view that is read-only. */
  readonly actions: Actions | null;
  /** Returns the URL of the full log of a worker (`''`: of all workers), or null without a server. */
  logFile(worker: string): string | null;
  /** Returns the URL of the final output file, or null without a server. */
  resultFile(): string | null;
}

export interface Actions {
  cancel(drain: boolean): Promise<void>;
  /** Resumes the run; with a `group`, retries only its failures. */
  resume(failedOnly: boolean, group: string): Promise<void>;
}

/** Returns the message of an error. */
export function errorMessage(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
