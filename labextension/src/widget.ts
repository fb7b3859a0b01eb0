import type { Actions, Host, LogQuestion } from './model/host';
import type { Failures, Grid, LogWindow, MiniBatchDetail, RunOutput } from './model/wire';
import { RunView } from './views/run';
import { Sight } from './views/sight';

/** What anywidget hands over, as far as it is used here. */
interface Model {
  get(name: 'output'): RunOutput;
  get(name: 'problem'): string;
  on(event: string, call: (content: unknown) => void): void;
  off(event: string, call: (content: unknown) => void): void;
  send(content: unknown): void;
}

interface Waiting {
  resolve(value: unknown): void;
  reject(error: Error): void;
}

/** Asks the kernel over the comm; it answers when no cell runs. */
class CommHost implements Host {
  private readonly waiting = new Map<number, Waiting>();
  private last = 0;

  constructor(private readonly model: Model) {}

  readonly actions: Actions = {
    cancel: async (drain) => {
      await this.ask({ ask: 'cancel', drain });
    },
    resume: async (failedOnly, group) => {
      await this.ask({ ask: 'resume', failed_only: failedOnly, group });
    },
  };

  logs(question: LogQuestion): Promise<LogWindow> {
    return this.ask({ ask: 'logs', ...question }) as Promise<LogWindow>;
  }

  failures(group: string): Promise<Failures> {
    return this.ask({ ask: 'failures', group }) as Promise<Failures>;
  }

  miniBatch(miniBatch: number): Promise<MiniBatchDetail> {
    return this.ask({ ask: 'mini_batch', mini_batch: miniBatch }) as Promise<MiniBatchDetail>;
  }

  grid(first: number, count: number): Promise<Grid> {
    return this.ask({ ask: 'grid', first, count }) as Promise<Grid>;
  }

  logFile(): null {
    return null; // a comm hands over no files; run.logs() and the run folder do
  }

  resultFile(): null {
    return null;
  }

  readonly receive = (content: unknown): void => {
    const { id, answer, error } = content as { id: number; answer?: unknown; error?: string };
    const waiting = this.waiting.get(id);
    this.waiting.delete(id);
    if (error === undefined) {
      waiting?.resolve(answer);
    } else {
      waiting?.reject(new Error(error));
    }
  };

  private ask(question: object): Promise<unknown> {
    const id = ++this.last;
    return new Promise((resolve, reject) => {
      this.waiting.set(id, { resolve, reject });
      this.model.send({ ...question, id });
    });
  }
}

function render({ model, el }: { model: Model; el: HTMLElement }): () => void {
  const host = new CommHost(model);
  const view = new RunView(host);
  const name = Math.random().toString(36).slice(2);
  const draw = (): void => {
    const problem = model.get('problem');
    view.draw(model.get('output'), !problem);
    view.say(problem);
  };
  // What nobody sees asks for nothing, and the kernel then sends nothing.
  const greet = (): void => model.send({ say: sight.isVisible ? 'hello' : 'bye', view: name });
  el.append(view.node);
  const sight = new Sight(view.node, greet);
  model.on('change:output', draw);
  model.on('change:problem', draw);
  model.on('msg:custom', host.receive);
  document.addEventListener('visibilitychange', greet);
  draw();
  greet();
  return () => {
    sight.dispose();
    document.removeEventListener('visibilitychange', greet);
    model.off('change:output', draw);
    model.off('change:problem', draw);
    model.off('msg:custom', host.receive);
    model.send({ say: 'bye', view: name });
    view.dispose();
  };
}

export default { render };
