/** Snapshots and hosts for tests. Each function takes the fields that matter to the test. */
import type { Actions, Host, LogQuery, RowQuery } from '../src/model/host';
import type {
  Calls,
  FailedItemRow,
  FailedItems,
  Failures,
  Grid,
  GroupRow,
  LogWindow,
  MiniBatchDetail,
  Preview,
  ResultRow,
  ResultRows,
  RunOutput,
  RunRow,
  Snapshot,
  WorkerRow,
} from '../src/model/wire';

/** Text of a script that attacks the page, the terminal and the reading direction. */
export const EVIL = '<img src=x onerror=alert(1)>\x1b]0;owned\x07\x1b[31mred\x1b[0m\u202e\x07';
export const EVIL_AS_TEXT = '<img src=x onerror=alert(1)>red';

const SNAPSHOT: Snapshot = {
  at_s: 60,
  elapsed_s: 60,
  eta_s: 40,
  eta_low_s: 30,
  eta_high_s: 50,
  items_per_s: 10,
  mini_batches_per_s: 1,
  rate_window_s: 10,
  quiet_s: 0,
  quiet_after_s: 10,
  run_id: '20261129-120000-digits',
  name: 'digits',
  state: 'Running',
  reason: '',
  is_final: false,
  can_resume: false,
  plan_finished: true,
  mini_batches: 100,
  items: 1000,
  succeeded: 40,
  failed: 0,
  retrying: 0,
  running: 2,
  left: 60,
  items_succeeded: 400,
  items_failed: 0,
  items_lost: 0,
  items_left: 600,
  items_per_call: 0,
  reused: null,
  duplicates_copied: 0,
  calls: null,
  job: null,
  rows: 400,
  attempts_failed: 0,
  error_threshold: 0,
  run_max_try: 3,
  budgets: [],
  stragglers: [],
  grid: { first: 0, count: 0, per_cell: 1, cells: '' },
  lanes_from_ms: 0,
  lanes: [],
  workers: [],
  workers_hidden: 0,
  workers_lost: 0,
  groups: [],
  groups_hidden: 0,
  warnings: [],
  output: '',
};

export function snapshot(fields: Partial<Snapshot> = {}): Snapshot {
  return { ...SNAPSHOT, ...fields };
}

/** Returns a snapshot of a completed run. */
export function completed(fields: Partial<Snapshot> = {}): Snapshot {
  const end = { state: 'Completed', is_final: true, can_resume: true } as const;
  const counts = { succeeded: 100, running: 0, left: 0, items_succeeded: 1000, items_left: 0 };
  return snapshot({ ...end, ...counts, ...fields });
}

export function output(of: Partial<Snapshot> = {}, fields: Partial<RunOutput> = {}): RunOutput {
  const shown = snapshot(of);
  const { run_id, state } = shown;
  return { run_id, at: 1_800_000_000, stage: 1, headline: state, snapshot: shown, ...fields };
}

export function worker(fields: Partial<WorkerRow> = {}): WorkerRow {
  return {
    ...{ cpu_percent: null, memory_mb: null, gpu_percent: null, gpu_memory_mb: null },
    ...{ cpu: '', memory: '', gpu: '', worker: 'n0w0', node: 'n0', phase: 'running' },
    ...{
      mini_batch: 7,
      since_s: 3,
      succeeded: 20,
      failed: 0,
      restarts: 0,
      progress: [],
      calls: [],
    },
    ...fields,
  };
}

/** Returns calls without limits, tokens or cost. */
export function calls(fields: Partial<Calls> = {}): Calls {
  return {
    ...{ in_flight: 48, waiting: 12, concurrency: 50, window: 0, rate_per_s: 4.9, tokens: 0 },
    ...{ rate_limit_per_s: 0, tokens_per_s: 0, token_limit_per_s: 0, held_by: '', held_until_s: 0 },
    ...{ held_shares: {}, throttled: 0, latency_s: 0.21, latency_95_s: 0.48, usd: 0 },
    ...{ usd_per_item: null, budget_usd: null, forecast_low_usd: null, forecast_high_usd: null },
    ...fields,
  };
}

export function group(fields: Partial<GroupRow> = {}): GroupRow {
  return {
    ...{ group: 'ValueError at score.py:10 in run', kind: 'error', message: 'bad image' },
    ...{ traceback: '', first_mini_batch: 13, attempts: 3, mini_batches_lost: 1 },
    ...{ items_failed: 10, items_missing: 10, hint: '' },
    ...fields,
  };
}

export function failedItem(fields: Partial<FailedItemRow> = {}): FailedItemRow {
  return {
    ...{ mini_batch: 13, position: 3, is_row: false, name: '/data/0003.png' },
    ...{ message: 'bad image', tries: 1 },
    ...fields,
  };
}

export function preview(fields: Partial<Preview> = {}): Preview {
  return {
    ...{ mini_batch: 13, position: 3, outcome: 'shown', detail: '', picture: '', text: '' },
    ...{ columns: [], columns_hidden: 0 },
    ...fields,
  };
}

export function resultRow(fields: Partial<ResultRow> = {}): ResultRow {
  return {
    ...{
      mini_batch: 13,
      row: 3,
      position: 3,
      number: 68,
      is_row: false,
      is_value: false,
      name: '/data/cat/0003.txt',
    },
    ...{ status: '', cells: ['tabby', '0.9'] },
    ...fields,
  };
}

export function resultRows(
  rows: readonly ResultRow[],
  fields: Partial<ResultRows> = {},
): ResultRows {
  return {
    ...{ columns: ['label', 'score'], columns_hidden: 0, rows, has_more: false },
    ...{ after: [-1, -1], note: '' },
    ...fields,
  };
}

export function row(fields: Partial<RunRow> = {}): RunRow {
  const { plan_finished, mini_batches, items, items_left, items_failed, rows } = SNAPSHOT;
  return {
    ...{ plan_finished, mini_batches, items, items_left, items_failed, rows },
    ...{ run_id: 'r1', name: 'digits', created_at: 1_800_000_000, is_read: true, reason: '' },
    ...{ is_final: false, can_resume: false, state: 'Running', headline: 'Running' },
    ...{ succeeded: 40, failed: 0, elapsed_s: 60, usd: 0, size_bytes: 4096, output: '' },
    ...fields,
  };
}

export function logWindow(lines: readonly string[], fields: Partial<LogWindow> = {}): LogWindow {
  return {
    ...{ lines, has_older: false, cut_lines: 0, skipped_lines: 0, is_partial: false },
    ends: { all: lines.length },
    ...fields,
  };
}

/** Answers queries with the values set by the test, and records the queries. */
export class FakeHost implements Host {
  readonly queries: LogQuery[] = [];
  readonly calls: string[] = [];
  log: () => LogWindow = () => logWindow([]);
  failed: (group: string) => Failures = (name) => ({
    ...{ group: name, traceback: '', rows: [], attempts: 0 },
  });
  cells: (first: number, count: number) => Grid = (first, count) => ({
    ...{ first, count, per_cell: 1, cells: '#'.repeat(count) },
  });
  items: (after: readonly [number, number]) => Omit<FailedItems, 'group'> = () => ({
    ...{ items: [], has_more: false },
  });
  previewOf: (place: readonly [number, number]) => Preview = ([mini_batch, position]) =>
    preview({ mini_batch, position });
  page: (query: RowQuery) => ResultRows = () => resultRows([]);
  actions: Actions | null = {
    cancel: async (drain) => {
      this.answer(`cancel ${drain ? 'drain' : 'stop'}`, null);
    },
    resume: async (failedOnly, name) => {
      this.answer(`resume ${failedOnly ? 'failed' : 'all'} ${name}`.trim(), null);
    },
  };
  /** The error that the next answers are rejected with. */
  error: Error | null = null;
  files = false;

  async logs(query: LogQuery): Promise<LogWindow> {
    this.queries.push(query);
    return this.answer('logs', this.log());
  }

  async failures(name: string): Promise<Failures> {
    return this.answer(`failures ${name}`, this.failed(name));
  }

  async failedItems(name: string, after: readonly [number, number]): Promise<FailedItems> {
    return this.answer(`items ${name} ${after}`, { group: name, ...this.items(after) });
  }

  async results(query: RowQuery): Promise<ResultRows> {
    const { order, text, after } = query;
    return this.answer(`results ${order} ${text} ${after}`, this.page(query));
  }

  async previews(places: readonly (readonly [number, number])[]): Promise<readonly Preview[]> {
    return this.answer(`previews ${places.join(' ')}`, places.map(this.previewOf));
  }

  async miniBatch(miniBatch: number): Promise<MiniBatchDetail> {
    const counts = { items_count: 1, items_failed: 0, failed_ranges: [] };
    const detail = { worker: '', items: ['a.png'], ...counts, attempts: [] };
    const state = 'succeeded' as MiniBatchDetail['state'];
    return this.answer(`mini-batch ${miniBatch}`, { mini_batch: miniBatch, state, ...detail });
  }

  async grid(first: number, count: number): Promise<Grid> {
    return this.answer(`grid ${first} ${count}`, this.cells(first, count));
  }

  logFile(name: string): string | null {
    return this.files ? `/log-file?worker=${name}` : null;
  }

  resultFile(): string | null {
    return this.files ? '/result' : null;
  }

  private answer<T>(call: string, value: T): T {
    this.calls.push(call);
    if (this.error) {
      throw this.error;
    }
    return value;
  }
}
