import type { Actions, Host, LogQuery, RowQuery } from './model/host';
import type {
  FailedItems,
  Failures,
  Grid,
  LogWindow,
  MiniBatchDetail,
  Preview,
  ResultRows,
  RunOutput,
} from './model/wire';
import { t } from './model/words';
import { RunActions } from './views/actions';
import { RunView } from './views/run';
import { VisibilityObserver } from './views/visibility';

const PATIENCE_MS = 4_000;
const GREETING_MS = 5_000;

/** The part of anywidget's model that is used here. */
interface Model {
  get(name: 'output'): RunOutput;
  get(name: 'problem'): string;
  on(event: string, call: (content: unknown) => void): void;
  off(event: string, call: (content: unknown) => void): void;
  send(content: unknown): void;
}

interface PendingQuery {
  resolve(value: unknown): void;
  reject(error: Error): void;
}

/** Queries the kernel over the comm; the kernel answers while no cell is running. */
class CommHost implements Host {
  private readonly pending = new Map<number, PendingQuery>();
  private lastId = 0;

  constructor(private readonly model: Model) {}

  readonly actions: Actions = {
    cancel: async (drain) => {
      await this.ask({ ask: 'cancel', drain });
    },
    resume: async (failedOnly, group) => {
      await this.ask({ ask: 'resume', failed_only: failedOnly, group });
    },
  };

  logs(query: LogQuery): Promise<LogWindow> {
    return this.ask({ ask: 'logs', ...query }) as Promise<LogWindow>;
  }

  failures(group: string): Promise<Failures> {
    return this.ask({ ask: 'failures', group }) as Promise<Failures>;
  }

  failedItems(group: string, after: readonly [number, number]): Promise<FailedItems> {
    return this.ask({ ask: 'failed_items', group, after }) as Promise<FailedItems>;
  }

  results(query: RowQuery): Promise<ResultRows> {
    return this.ask({ ask: 'results', ...query }) as Promise<ResultRows>;
  }

  previews(items: readonly (readonly [number, number])[]): Promise<readonly Preview[]> {
    return this.ask({ ask: 'previews', items }) as Promise<readonly Preview[]>;
  }

  miniBatch(miniBatch: number): Promise<MiniBatchDetail> {
    return this.ask({ ask: 'mini_batch', mini_batch: miniBatch }) as Promise<MiniBatchDetail>;
  }

  grid(first: number, count: number): Promise<Grid> {
    return this.ask({ ask: 'grid', first, count }) as Promise<Grid>;
  }

  logFile(): null {
    return null; // a comm cannot serve files; run.logs() and the run folder have them
  }

  resultFile(): null {
    return null;
  }

  readonly receive = (content: unknown): void => {
    const { id, answer, error } = content as { id: number; answer?: unknown; error?: string };
    const query = this.pending.get(id);
    this.pending.delete(id);
    if (error === undefined) {
      query?.resolve(answer);
    } else {
      query?.reject(new Error(error));
    }
  };

  private ask(question: object): Promise<unknown> {
    const id = ++this.lastId;
    return new Promise((resolve, reject) => {
      this.pending.set(id, { resolve, reject });
      this.model.send({ ...question, id });
    });
  }
}

/**
 * Greets the kernel now and then, and tells whether it answers. A kernel that is busy or gone does
 * not, nor does a page that was saved; then a view must not look as if it were live.
 */
class Greeter {
  isAnswered = true;
  private isOpen = false;
  private timer = 0;

  constructor(
    private readonly greet: () => void,
    private readonly tell: () => void,
  ) {}

  start(): void {
    this.stop();
    this.isOpen = true;
    this.greet();
    this.timer = window.setTimeout(() => this.set(false), PATIENCE_MS);
  }

  /** Something came from the kernel; more is to come unless the run has ended. */
  hear(isFinal: boolean): void {
    clearTimeout(this.timer);
    if (this.isOpen && !isFinal) {
      this.timer = window.setTimeout(() => this.start(), GREETING_MS);
    }
    this.set(true);
  }

  stop(): void {
    clearTimeout(this.timer);
    this.isOpen = false;
  }

  private set(isAnswered: boolean): void {
    if (this.isAnswered !== isAnswered) {
      this.isAnswered = isAnswered;
      this.tell();
    }
  }
}

function render({ model, el }: { model: Model; el: HTMLElement }): () => void {
  const host = new CommHost(model);
  const view = new RunView(host, RunActions.of(host));
  const name = Math.random().toString(36).slice(2);
  const draw = (): void => {
    const output = model.get('output');
    const isSilent = !greeter.isAnswered && !output.snapshot.is_final;
    const note = isSilent ? t('the kernel does not answer; the run may have continued since') : '';
    const problem = model.get('problem') || note;
    view.draw(output, !problem);
    view.setNote(problem);
  };
  const say = (word: string): void => model.send({ say: word, view: name });
  const greeter = new Greeter(() => say('hello'), draw);
  const hear = (): void => greeter.hear(model.get('output').snapshot.is_final);
  const receive = (content: unknown): void => {
    hear();
    host.receive(content);
  };
  const drawNew = (): void => {
    hear();
    draw();
  };
  // A hidden view says 'bye', so that the kernel sends it nothing.
  const reportVisibility = (): void => {
    if (visibility.isVisible) {
      greeter.start();
    } else {
      greeter.stop();
      say('bye');
    }
  };
  el.append(view.node);
  const visibility = new VisibilityObserver(view.node, reportVisibility);
  model.on('change:output', drawNew);
  model.on('change:problem', draw);
  model.on('msg:custom', receive);
  draw();
  reportVisibility();
  return () => {
    visibility.dispose();
    model.off('change:output', drawNew);
    model.off('change:problem', draw);
    model.off('msg:custom', receive);
    greeter.stop();
    say('bye');
    view.dispose();
  };
}

export default { render };
