import { cellAt } from './cells';
import type { Host, LogQuery, RowQuery } from './host';
import { textFilter } from './text_filter';
import {
  type FailedItems,
  type Failures,
  type Grid,
  LOG_LEVELS,
  type LogWindow,
  type MiniBatchDetail,
  type Preview,
  type Recording,
  type ResultRow,
  type ResultRows,
  type RunOutput,
} from './wire';
import { t } from './words';

/** Later than all moments. */
const END = Number.POSITIVE_INFINITY;

/** Answers queries from a recording, as they would have been answered at the moment that is shown. */
export class RecordedHost implements Host {
  readonly actions = null;
  /** The moment in milliseconds since the run's creation; infinite at the end. */
  private atMs = END;
  private output: RunOutput;
  private readonly ends = new Map<string, number>();

  constructor(private readonly recording: Recording) {
    this.output = recording.output;
    for (const [miniBatch = 0, attempt = 0, endMs = 0] of recording.frames?.ends ?? []) {
      this.ends.set(`${miniBatch}.${attempt}`, endMs);
      this.ends.set(`${miniBatch}`, endMs); // of its last attempt
    }
  }

  /** Sets the moment from which queries are answered. */
  moveTo(output: RunOutput): void {
    this.output = output;
    this.atMs = output === this.recording.output ? END : 1000 * output.snapshot.at_s;
  }

  async logs(query: LogQuery): Promise<LogWindow> {
    const { log } = this.recording;
    const until = new Date(1000 * this.output.at).toISOString();
    const known = log.lines.filter(
      (line) => this.atMs === END || (line.split(' ')[1] ?? '') <= until,
    );
    if (known.length === 0 && log.has_older) {
      throw new Error(t('only the last lines of the log are recorded'));
    }
    const matches = textFilter(query.text);
    const lines = known.slice(query.since.all ?? 0).filter((line) => {
      const [worker = '', , level = '', tag = ''] = line.split(' ', 4);
      return (
        (!query.worker || worker === query.worker) &&
        (query.mini_batch < 0 || tag === `#${query.mini_batch}`) &&
        (LOG_LEVELS[level] ?? 20) >= (LOG_LEVELS[query.level] ?? 0) &&
        matches(line)
      );
    });
    return { ...log, lines, ends: { all: known.length } };
  }

  async failures(group: string): Promise<Failures> {
    const empty = { group, traceback: '', rows: [], attempts: 0 };
    const all = this.recording.failures.find((failures) => failures.group === group) ?? empty;
    const rows = all.rows.filter((row) => this.isKnown(`${row.mini_batch}.${row.attempt}`));
    return rows.length === all.rows.length ? all : { ...all, rows, attempts: rows.length };
  }

  async failedItems(group: string): Promise<FailedItems> {
    const items = this.recording.items.find((page) => page.group === group)?.items ?? [];
    const known = items.filter(({ mini_batch }) => this.isKnown(`${mini_batch}`));
    return { group, items: known, has_more: false };
  }

  async results({ order, text }: RowQuery): Promise<ResultRows> {
    const [first, latest] = [this.knownRows(0), this.knownRows(1)];
    const earlier = { ...first, rows: [...first.rows].reverse() }; // the latest that are recorded
    const newest = latest.rows.length ? latest : earlier;
    const page = { ...(order === 'first' || text ? first : newest), has_more: false };
    const note = page.note || t('only the first and the latest rows are recorded');
    if (!text) {
      return { ...page, note };
    }
    const own = new Set(first.rows.map(placeOf));
    const others = latest.rows.filter((row) => !own.has(placeOf(row)));
    const isSame = others.length === 0 || first.columns.join() === latest.columns.join();
    const rows = isSame ? [...first.rows, ...others] : first.rows;
    const matches = textFilter(text);
    return {
      ...{ ...page, note },
      rows: rows.filter(({ name, number }) => matches(name) || String(number) === text),
    };
  }

  async previews(items: readonly (readonly [number, number])[]): Promise<readonly Preview[]> {
    return this.recording.previews.filter((preview) =>
      items.some(([mb, position]) => mb === preview.mini_batch && position === preview.position),
    );
  }

  async miniBatch(miniBatch: number): Promise<MiniBatchDetail> {
    const detail = this.recording.details.find((row) => row.mini_batch === miniBatch);
    if (!detail) {
      throw new Error(t('only failed and recent mini-batches are recorded in detail'));
    }
    const attempts = detail.attempts.filter((row) => 1000 * row.at_s <= this.atMs);
    if (attempts.length === detail.attempts.length) {
      return detail;
    }
    const worker =
      this.output.snapshot.workers.find(
        (row) => row.phase === 'running' && row.mini_batch === miniBatch,
      )?.worker ?? '';
    const isRetried = attempts.length ? 'retrying' : 'left';
    const ended = stateIn(this.output.snapshot.grid, miniBatch, attempts) ?? isRetried;
    const state = (worker ? 'running' : ended) as typeof detail.state;
    return { ...detail, attempts, state, worker, items_failed: 0, failed_ranges: [] };
  }

  async grid(first: number): Promise<Grid> {
    const grid = this.recording.parts.find((part) => part.first === first);
    if (this.atMs < END || !grid) {
      throw new Error(
        t('cells open at the end of the recording, those with failures in long runs'),
      );
    }
    return grid;
  }

  logFile(): null {
    return null;
  }

  resultFile(): null {
    return null;
  }

  /** Returns the first rows (0) or the latest ones (1). */
  private knownRows(which: 0 | 1): ResultRows {
    const page = this.recording.rows?.[which] ?? NO_ROWS;
    return { ...page, rows: page.rows.filter((row) => this.isKnown(`${row.mini_batch}`)) };
  }

  /** Returns whether an attempt, or the last one of a mini-batch, had ended. */
  private isKnown(attempt: string): boolean {
    return (this.ends.get(attempt) ?? END) <= this.atMs;
  }
}

/** Returns the state of a mini-batch that does not run, by its cell; null if the cell has others, too. */
function stateIn(
  grid: Grid,
  miniBatch: number,
  attempts: MiniBatchDetail['attempts'],
): string | null {
  if (grid.per_cell > 1 || miniBatch >= grid.count) return null;
  const { eighths, failed, retrying } = cellAt(grid, miniBatch);
  if (retrying || eighths === 0) return retrying ? 'retrying' : 'left';
  if (!failed) return 'succeeded';
  return attempts.some((row) => row.succeeded) ? 'partly failed' : 'failed';
}

const NO_ROWS: ResultRows = {
  ...{ columns: [], columns_hidden: 0, rows: [], has_more: false, after: [], note: '' },
};

function placeOf({ mini_batch, row }: ResultRow): string {
  return `${mini_batch}:${row}`;
}
