// Made by python -m parallelrun_jupyter.views.typescript; do not edit.

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

/** Severity of a log line; text on standard error counts as a warning. */
export const LOG_LEVELS: Readonly<Record<string, number>> = {
  ...{ DEBUG: 10, INFO: 20, STDOUT: 20, WARNING: 30, STDERR: 30, ERROR: 40, CRITICAL: 50 },
};

/** Activity and resources of a worker; ``restarts`` counts the workers that it has replaced. */
export interface WorkerRow {
  readonly cpu_percent: number | null;
  readonly memory_mb: number | null;
  readonly gpu_percent: number | null;
  readonly gpu_memory_mb: number | null;
  readonly cpu: string;
  readonly memory: string;
  readonly gpu: string;
  readonly worker: string;
  readonly node: string;
  readonly phase: string;
  readonly mini_batch: number;
  readonly since_s: number;
  readonly succeeded: number;
  readonly failed: number;
  readonly restarts: number;
}

/** Failures raised at the same line; ``hint`` suggests a remedy, or is ''. */
export interface GroupRow {
  readonly group: string;
  readonly kind: string;
  readonly message: string;
  readonly traceback: string;
  readonly first_mini_batch: number;
  readonly attempts: number;
  readonly mini_batches_lost: number;
  readonly items_missing: number;
  readonly hint: string;
}

/** A limit of failures; the run fails when ``used`` exceeds ``allowed``. */
export interface Budget {
  readonly limit: string;
  readonly noun: string;
  readonly used: number;
  readonly allowed: number;
}

/** A mini-batch that runs much longer than the others took. */
export interface Straggler {
  readonly worker: string;
  readonly mini_batch: number;
  readonly for_s: number;
}

/** Mini-batches from ``first`` on, ``per_cell`` of them in each cell, one character per cell. */
export interface Grid {
  readonly first: number;
  readonly count: number;
  readonly per_cell: number;
  readonly cells: string;
}

/** The bars of one worker: start (ms), length (ms), mini-batch, number of mini-batches, status. */
export interface Lane {
  readonly worker: string;
  readonly bars: readonly (readonly number[])[];
}

/** State and progress of a run. Times in seconds; None while a value is unknown. */
export interface Snapshot {
  readonly at_s: number;
  readonly elapsed_s: number;
  readonly eta_s: number | null;
  readonly eta_low_s: number | null;
  readonly eta_high_s: number | null;
  readonly items_per_s: number;
  readonly mini_batches_per_s: number;
  readonly rate_window_s: number;
  readonly quiet_s: number;
  readonly quiet_after_s: number;
  readonly run_id: string;
  readonly name: string;
  readonly state: RunState;
  readonly reason: string;
  readonly is_final: boolean;
  readonly can_resume: boolean;
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
  readonly run_max_try: number;
  readonly budgets: readonly Budget[];
  readonly stragglers: readonly Straggler[];
  readonly grid: Grid;
  readonly lanes_from_ms: number;
  readonly lanes: readonly Lane[];
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
  readonly can_resume: boolean;
  readonly state: RunState;
  readonly reason: string;
  readonly headline: string;
  readonly plan_finished: boolean;
  readonly mini_batches: number;
  readonly succeeded: number;
  readonly failed: number;
  readonly items: number;
  readonly items_left: number;
  readonly items_failed: number;
  readonly rows: number;
  readonly elapsed_s: number;
  readonly size_bytes: number;
  readonly output: string;
}

/** The newest runs, and how many older ones there are. */
export interface RunList {
  readonly runs: readonly RunRow[];
  readonly hidden: number;
}

/** Lines of the log; ``has_older`` when there are more before, ``cut_lines`` were shortened. */
export interface LogWindow {
  readonly lines: readonly string[];
  readonly has_older: boolean;
  readonly cut_lines: number;
  readonly skipped_lines: number;
  readonly is_partial: boolean;
  readonly ends: Readonly<Record<string, number>>;
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

/** An attempt that has ended. */
export interface AttemptRow {
  readonly attempt: number;
  readonly worker: string;
  readonly succeeded: boolean;
  readonly at_s: number;
  readonly duration_s: number;
  readonly rows: number;
  readonly group: string;
  readonly message: string;
}

/** A mini-batch: its state, the worker that runs it, its first items, its attempts. */
export interface MiniBatchDetail {
  readonly mini_batch: number;
  readonly state: RunState;
  readonly worker: string;
  readonly items: readonly string[];
  readonly items_count: number;
  readonly attempts: readonly AttemptRow[];
}
