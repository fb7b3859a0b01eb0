import type { Host, LogQuery } from './model/host';
import { textFilter } from './model/text_filter';
import type { Failures, Grid, LogWindow, MiniBatchDetail, RunOutput } from './model/wire';
import { t } from './model/words';
import { RunView } from './views/run';

/** The data embedded in a report: a run, and the answers to its view's queries. */
interface Report {
  readonly output: RunOutput;
  readonly failures: readonly Failures[];
  readonly log: LogWindow;
  readonly details: readonly MiniBatchDetail[];
  /** The grids that cells with several mini-batches open into. */
  readonly parts: readonly Grid[];
}

const SEVERITY: Readonly<Record<string, number>> = {
  ...{ DEBUG: 10, INFO: 20, STDOUT: 20, WARNING: 30, STDERR: 30, ERROR: 40, CRITICAL: 50 },
};

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
        (SEVERITY[level] ?? 20) >= (SEVERITY[query.level] ?? 0) &&
        matches(line)
      );
    });
    return { ...log, lines, ends: { all: 1 } };
  }

  async failures(group: string): Promise<Failures> {
    const empty = { group, traceback: '', rows: [], attempts: 0 };
    return this.report.failures.find((failures) => failures.group === group) ?? empty;
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

const data = document.getElementById('data')?.textContent ?? '{}';
const report = JSON.parse(data) as Report;
const view = new RunView(new ReportHost(report));
document.getElementById('run')?.append(view.node);
view.draw(report.output, false);
view.setNote(report.output.snapshot.is_final ? '' : t('the run may have gone on since'));
