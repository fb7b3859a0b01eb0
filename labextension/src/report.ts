import type { Host, LogQuery, RowQuery } from './model/host';
import { textFilter } from './model/text_filter';
import {
  type FailedItems,
  type Failures,
  type Grid,
  LOG_LEVELS,
  type LogWindow,
  type MiniBatchDetail,
  type Preview,
  type ResultRow,
  type ResultRows,
  type RunOutput,
} from './model/wire';
import { t } from './model/words';
import { RunView } from './views/run';

/** The data embedded in a report: a run, and the answers to its view's queries. */
interface Report {
  readonly output: RunOutput;
  readonly failures: readonly Failures[];
  /** The first failed items of each group, and previews of some. */
  readonly items: readonly FailedItems[];
  readonly previews: readonly Preview[];
  /** The first rows and the latest ones; null without rows. */
  readonly rows: readonly [ResultRows, ResultRows] | null;
  readonly log: LogWindow;
  readonly details: readonly MiniBatchDetail[];
  /** The grids that cells with several mini-batches open into. */
  readonly parts: readonly Grid[];
}

/** Answers queries from the embedded data; a report is read-only. */
class ReportHost implements Host {
  readonly actions = null;

  constructor(private readonly report: Report) {}

  async logs(query: LogQuery): Promise<LogWindow> {
    const { log } = this.report;
    const matches = textFilter(query.text);
    const lines = log.lines.filter((line) => {
      const [worker = '', , level = '', tag = ''] = line.split(' ', 4);
      return (
        (!query.worker || worker === query.worker) &&
        (query.mini_batch < 0 || tag === `#${query.mini_batch}`) &&
        (LOG_LEVELS[level] ?? 20) >= (LOG_LEVELS[query.level] ?? 0) &&
        matches(line)
      );
    });
    return { ...log, lines, ends: { all: 1 } };
  }

  async failures(group: string): Promise<Failures> {
    const empty = { group, traceback: '', rows: [], attempts: 0 };
    return this.report.failures.find((failures) => failures.group === group) ?? empty;
  }

  async failedItems(group: string): Promise<FailedItems> {
    const page = this.report.items.find((items) => items.group === group);
    return { group, items: page?.items ?? [], has_more: false };
  }

  async results({ order, text }: RowQuery): Promise<ResultRows> {
    const [first, latest] = this.report.rows ?? [NO_ROWS, NO_ROWS];
    const page = { ...(order === 'first' || text ? first : latest), has_more: false };
    const note = page.note || t('this report includes the first and the latest rows only');
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
    return this.report.previews.filter((preview) =>
      items.some(([mb, position]) => mb === preview.mini_batch && position === preview.position),
    );
  }

  async miniBatch(miniBatch: number): Promise<MiniBatchDetail> {
    const detail = this.report.details.find((row) => row.mini_batch === miniBatch);
    if (!detail) {
      throw new Error(t('this report includes details of failed and recent mini-batches only'));
    }
    return detail;
  }

  async grid(first: number): Promise<Grid> {
    const grid = this.report.parts.find((part) => part.first === first);
    if (!grid) {
      throw new Error(t('this report can open only cells with failures'));
    }
    return grid;
  }

  logFile(): null {
    return null;
  }

  resultFile(): null {
    return null;
  }
}

const NO_ROWS: ResultRows = {
  ...{ columns: [], columns_hidden: 0, rows: [], has_more: false, after: [], note: '' },
};

function placeOf({ mini_batch, row }: ResultRow): string {
  return `${mini_batch}:${row}`;
}

const data = document.getElementById('data')?.textContent ?? '{}';
const report = JSON.parse(data) as Report;
const view = new RunView(new ReportHost(report));
document.getElementById('run')?.append(view.node);
view.draw(report.output, false);
view.setNote(report.output.snapshot.is_final ? '' : t('the run may have continued since'));
