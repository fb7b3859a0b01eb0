import { URLExt } from '@jupyterlab/coreutils';
import { ServerConnection } from '@jupyterlab/services';
import type { PartialJSONObject } from '@lumino/coreutils';
import type { Host } from '../model/host';
import type { Failures, LogWindow, RunList, RunOutput } from '../model/wire';

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

  host(runId: string): Host {
    return {
      logs: (worker, miniBatch) =>
        this.json<LogWindow>(one(runId, 'logs', { worker, mini_batch: String(miniBatch) })),
      failures: (group) => this.json<Failures>(one(runId, 'failures', { group })),
      cancel: async (drain) => {
        await this.request(one(runId, 'cancel'), {
          method: 'POST',
          body: JSON.stringify({ drain }),
        });
      },
    };
  }

  private async json<T>(path: string): Promise<T> {
    return (await (await this.request(path)).json()) as T;
  }

  private async request(path: string, init: RequestInit = {}): Promise<Response> {
    const url = URLExt.join(this.settings.baseUrl, 'parallelrun', 'runs') + path;
    const response = await ServerConnection.makeRequest(url, init, this.settings);
    if (response.status === 404) {
      throw new NotHere('the Jupyter server does not have this run');
    }
    if (!response.ok) {
      throw new Error(await reason(response));
    }
    return response;
  }
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
