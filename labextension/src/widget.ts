import type { Host } from './model/host';
import type { Failures, LogWindow, RunOutput } from './model/wire';
import { RunView } from './views/run';

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

  logs(worker: string, miniBatch: number): Promise<LogWindow> {
    return this.ask({ ask: 'logs', worker, mini_batch: miniBatch }) as Promise<LogWindow>;
  }

  failures(group: string): Promise<Failures> {
    return this.ask({ ask: 'failures', group }) as Promise<Failures>;
  }

  async cancel(drain: boolean): Promise<void> {
    await this.ask({ ask: 'cancel', drain });
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
  // A hidden page asks for nothing, and the kernel then sends nothing.
  const greet = (): void => model.send({ say: document.hidden ? 'bye' : 'hello', view: name });
  el.append(view.node);
  model.on('change:output', draw);
  model.on('change:problem', draw);
  model.on('msg:custom', host.receive);
  document.addEventListener('visibilitychange', greet);
  draw();
  greet();
  return () => {
    document.removeEventListener('visibilitychange', greet);
    model.off('change:output', draw);
    model.off('change:problem', draw);
    model.off('msg:custom', host.receive);
    model.send({ say: 'bye', view: name });
    view.dispose();
  };
}

export default { render };
