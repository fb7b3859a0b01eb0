import type { Host, LogQuestion } from './model/host';
import { textFilter } from './model/text_filter';
import {
  type Failures,
  type Grid,
  LOG_LEVELS,
  type LogWindow,
  type MiniBatchDetail,
  type RunOutput,
} from './model/wire';
import { t } from './model/words';
import { RunView } from './views/run';

/** What a report holds: a run, and the answers to what its views ask. */
interface Report {
  readonly output: RunOutput;
  readonly failures: readonly Failures[];
  readonly log: LogWindow;
  readonly details: readonly MiniBatchDetail[];
  readonly parts: readonly Grid[];
}

/** Answers from what the report holds; nothing can be done to the run from a page that stands alone. */
class ReportHost implements Host {
  readonly actions = null;

  constructor(private readonly report: Report) {}

  async logs(question: LogQuestion): Promise<LogWindow> {
    const { log } = this.report;
    const has = textFilter(question.text);
    const lines = log.lines.filter((line) => {
      const [worker = '', , level = '', tag = ''] = line.split(' ', 4);
      return (
        (!question.worker || worker === question.worker) &&
        (question.mini_batch < 0 || tag === `#${question.mini_batch}`) &&
        (LOG_LEVELS[level] ?? 20) >= (LOG_LEVELS[question.level] ?? 0) &&
        has(line)
      );
    });
    return { ...log, lines, ends: { all: 1 } };
  }

  async failures(group: string): Promise<Failures> {
    const none = { group, traceback: '', rows: [], attempts: 0 };
    return this.report.failures.find((one) => one.group === group) ?? none;
  }

  async miniBatch(miniBatch: number): Promise<MiniBatchDetail> {
    const found = this.report.details.find((one) => one.mini_batch === miniBatch);
    if (!found) {
      throw new Error(t('this report tells of failed mini-batches and of the last ones only'));
    }
    return found;
  }

  async grid(first: number): Promise<Grid> {
    const found = this.report.parts.find((one) => one.first === first);
    if (!found) {
      throw new Error(t('this report opens the cells with failures only'));
    }
    return found;
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
view.say(report.output.snapshot.is_final ? '' : t('the run may have gone on since'));
