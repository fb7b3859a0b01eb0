import { URLExt } from '@jupyterlab/coreutils';
import { ServerConnection } from '@jupyterlab/services';
import type { PartialJSONObject } from '@lumino/coreutils';
import type { Host } from '../model/host';
import type { Failures, Grid, LogWindow, MiniBatchDetail, RunList, RunOutput } from '../model/wire';

/** The server has no such run, or no such handlers: something else must draw it. */
export class NotHere extends Error {}

/** What a notebook saves of a run. */
export type Bundle = PartialJSONObject;

export interface Look {
  /** The run, or null when there is no news of it. */
  readonly output: RunOutput | null;
  readonly version: string;
}

/** Asks the server extension about runs, with the page's own credentials and base URL. */
export class RunsClient {
  constructor(private readonly settings: ServerConnection.ISettings) {}

  list(): Promise<RunList> {
    return this.json<RunList>('');
  }

  async look(runId: string, seen: string): Promise<Look> {
    const response = await this.request(one(runId, 'snapshot', { seen }));
    const version = response.headers.get('X-Run-Version') ?? '';
    const output = response.status === 204 ? null : ((await response.json()) as RunOutput);
    return { output, version };
  }

  bundle(runId: string): Promise<Bundle> {
    return this.json<Bundle>(one(runId, 'output'));
  }

  /** Asks a run to end. */
  async cancel(runId: string, drain: boolean): Promise<void> {
    await this.request(one(runId, 'cancel'), posted({ drain }));
  }

  /** Goes on with a run that has ended; with `failedOnly`, with what had failed, in a `group` of it. */
  async resume(runId: string, failedOnly: boolean, group = ''): Promise<void> {
    await this.request(one(runId, 'resume'), posted({ failed_only: failedOnly, group }));
  }

  /**
   * @param changed - Called when something was done to the run, so that it is looked at again.
   */
  host(runId: string, changed: () => void): Host {
    return {
      logs: (question) => this.json<LogWindow>(one(runId, 'logs'), posted(question)),
      failures: (group) => this.json<Failures>(one(runId, 'failures', { group })),
      miniBatch: (number) =>
        this.json<MiniBatchDetail>(one(runId, 'mini-batch', { mini_batch: String(number) })),
      grid: (first, count) =>
        this.json<Grid>(one(runId, 'grid', { first: String(first), count: String(count) })),
      actions: {
        cancel: (drain) => this.cancel(runId, drain).then(changed),
        resume: (failedOnly, group) => this.resume(runId, failedOnly, group).then(changed),
      },
      logFile: (worker) => this.url(one(runId, 'log-file', worker ? { worker } : {})),
      resultFile: () => this.url(one(runId, 'result')),
    };
  }

  private url(path: string): string {
    return URLExt.join(this.settings.baseUrl, 'parallelrun', 'runs') + path;
  }

  private async json<T>(path: string, init: RequestInit = {}): Promise<T> {
    return (await (await this.request(path, init)).json()) as T;
  }

  private async request(path: string, init: RequestInit = {}): Promise<Response> {
    const response = await ServerConnection.makeRequest(this.url(path), init, this.settings);
    if (response.status === 404) {
      throw new NotHere('the Jupyter server does not have this run');
    }
    if (!response.ok) {
      throw new Error(await reason(response));
    }
    return response;
  }
}

function posted(body: object): RequestInit {
  return { method: 'POST', body: JSON.stringify(body) };
}

function one(runId: string, what: string, query: Record<string, string> = {}): string {
  const asked = new URLSearchParams(query).toString();
  return `/${encodeURIComponent(runId)}/${what}${asked ? `?${asked}` : ''}`;
}

async function reason(response: Response): Promise<string> {
  try {
    const { message } = (await response.json()) as { message?: string };
    return message || response.statusText;
  } catch {
    return `${response.status} ${response.statusText}`;
  }
}
