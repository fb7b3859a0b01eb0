// Made by python -m parallelrun_jupyter.widget.wire; do not edit.

export const RUN_MIME = 'application/vnd.parallelrun.run+json';

export type RunState =
  | 'Queued'
  | 'Planning'
  | 'Running'
  | 'Finalizing'
  | 'Completed'
  | 'Failed'
  | 'Canceled'
  | 'Interrupted';

export const FINAL_STATES: ReadonlySet<string> = new Set(['Completed', 'Failed', 'Canceled']);

export const GLYPHS: Readonly<Record<RunState, string>> = {
  Queued: '◌',
  Planning: '◌',
  Running: '▶',
  Finalizing: '▶',
  Completed: '✓',
  Failed: '✗',
  Canceled: '■',
  Interrupted: '!',
};

/** What a worker is doing, in words. */
export const PHASES: Readonly<Record<string, string>> = {
  starting: 'starting',
  init: 'in init()',
  waiting: 'waiting',
  loading: 'loading',
  running: 'in run()',
  stopping: 'stopping',
  ended: 'ended',
};

/** What one worker is doing. */
export interface WorkerRow {
  readonly worker: string;
  readonly phase: string;
  readonly mini_batch: number;
  readonly since_s: number;
  readonly succeeded: number;
  readonly failed: number;
}

/** Failures that were raised at the same place. */
export interface GroupRow {
  readonly group: string;
  readonly kind: string;
  readonly message: string;
  readonly traceback: string;
  readonly first_mini_batch: number;
  readonly attempts: number;
  readonly mini_batches_lost: number;
}

/** Where a run stands. Times in seconds; None where a value is not known yet. */
export interface Snapshot {
  readonly run_id: string;
  readonly name: string;
  readonly state: RunState;
  readonly reason: string;
  readonly is_final: boolean;
  readonly plan_finished: boolean;
  readonly mini_batches: number;
  readonly items: number;
  readonly succeeded: number;
  readonly failed: number;
  readonly retrying: number;
  readonly running: number;
  readonly left: number;
  readonly items_succeeded: number;
  readonly items_failed: number;
  readonly items_left: number;
  readonly rows: number;
  readonly attempts_failed: number;
  readonly error_threshold: number;
  readonly elapsed_s: number;
  readonly eta_s: number | null;
  readonly items_per_s: number;
  readonly workers: readonly WorkerRow[];
  readonly workers_hidden: number;
  readonly workers_lost: number;
  readonly groups: readonly GroupRow[];
  readonly groups_hidden: number;
  readonly warnings: readonly string[];
  readonly output: string;
}

/** What a front end draws: a run at a time (seconds since the epoch), its milestones, its words. */
export interface RunOutput {
  readonly run_id: string;
  readonly at: number;
  readonly stage: number;
  readonly headline: string;
  readonly snapshot: Snapshot;
}

/** A run in a list; ``is_read`` is False while its journal is still being read. */
export interface RunRow {
  readonly run_id: string;
  readonly name: string;
  readonly created_at: number;
  readonly is_read: boolean;
  readonly is_final: boolean;
  readonly state: RunState;
  readonly headline: string;
  readonly plan_finished: boolean;
  readonly mini_batches: number;
  readonly succeeded: number;
  readonly failed: number;
  readonly items_failed: number;
  readonly elapsed_s: number;
}

/** The newest runs, and how many older ones there are. */
export interface RunList {
  readonly runs: readonly RunRow[];
  readonly hidden: number;
}

/** The last lines of the log; ``has_older`` when there are more, ``cut_lines`` were shortened. */
export interface LogWindow {
  readonly lines: readonly string[];
  readonly has_older: boolean;
  readonly cut_lines: number;
}

/** One failed attempt. */
export interface FailureRow {
  readonly mini_batch: number;
  readonly attempt: number;
  readonly worker: string;
  readonly kind: string;
  readonly error: string;
  readonly message: string;
  readonly items: number;
  readonly is_last: boolean;
}

/** The first failed attempts of a group, its traceback, and how many attempts there were. */
export interface Failures {
  readonly group: string;
  readonly traceback: string;
  readonly rows: readonly FailureRow[];
  readonly attempts: number;
}
