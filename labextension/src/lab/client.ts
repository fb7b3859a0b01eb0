import { URLExt } from '@jupyterlab/coreutils';
import { ServerConnection } from '@jupyterlab/services';
import type { PartialJSONObject } from '@lumino/coreutils';
import type { Host } from '../model/host';
import type {
  FailedItems,
  Failures,
  Grid,
  LogWindow,
  MiniBatchDetail,
  Preview,
  ResultRows,
  RunList,
  RunOutput,
} from '../model/wire';
import { t } from '../model/words';

/** The server does not have the run, or its extension is not installed. */
export class RunNotFound extends Error {}

/** The MIME bundle that a notebook saves for a run. */
export type Bundle = PartialJSONObject;

export interface SnapshotResponse {
  /** The run, or null if it has not changed since the given version. */
  readonly output: RunOutput | null;
  readonly version: string;
}

/** Client of the server extension, with the page's own credentials and base URL. */
export class RunsClient {
  /**
   * @param isRecorded - Whether the runs are recordings, which can be neither changed nor downloaded.
   */
  constructor(
    private readonly settings: ServerConnection.ISettings,
    private readonly isRecorded = false,
  ) {}

  list(): Promise<RunList> {
    return this.json<RunList>('');
  }

  async snapshot(runId: string, version: string): Promise<SnapshotResponse> {
    const response = await this.request(path(runId, 'snapshot', { seen: version }));
    const newest = response.headers.get('X-Run-Version') ?? '';
    const output = response.status === 204 ? null : ((await response.json()) as RunOutput);
    return { output, version: newest };
  }

  bundle(runId: string): Promise<Bundle> {
    return this.json<Bundle>(path(runId, 'output'));
  }

  /** Returns the output of a pipeline, or of one of its `step`s. */
  pipeline(pipelineId: string, step: string): Promise<Bundle> {
    return this.json<Bundle>(path(pipelineId, 'output', { step }), {}, 'pipelines');
  }

  /** Cancels a pipeline and its running step. */
  async cancelPipeline(pipelineId: string): Promise<void> {
    await this.request(path(pipelineId, 'cancel'), posted({}), 'pipelines');
  }

  /** Cancels a run; with `drain`, after its running mini-batches. */
  async cancel(runId: string, drain: boolean): Promise<void> {
    await this.request(path(runId, 'cancel'), posted({ drain }));
  }

  /** Resumes an ended run; with `failedOnly`, retries only its failures, all or those of a `group`. */
  async resume(runId: string, failedOnly: boolean, group = ''): Promise<void> {
    await this.request(path(runId, 'resume'), posted({ failed_only: failedOnly, group }));
  }

  /**
   * Returns the host for the views of a run.
   *
   * @param changed - Called after an action on the run, to fetch it again.
   */
  host(runId: string, changed: () => void): Host {
    return {
      logs: (query) => this.json<LogWindow>(path(runId, 'logs'), posted(query)),
      failures: (group) => this.json<Failures>(path(runId, 'failures', { group })),
      failedItems: (group, [after, position]) =>
        this.json<FailedItems>(
          path(runId, 'failed-items', {
            ...{ group, mini_batch: String(after), position: String(position) },
          }),
        ),
      results: (query) => this.json<ResultRows>(path(runId, 'results'), posted(query)),
      previews: (items) =>
        this.json<readonly Preview[]>(path(runId, 'previews'), posted({ items })),
      miniBatch: (number) =>
        this.json<MiniBatchDetail>(path(runId, 'mini-batch', { mini_batch: String(number) })),
      grid: (first, count) =>
        this.json<Grid>(path(runId, 'grid', { first: String(first), count: String(count) })),
      actions: this.isRecorded
        ? null
        : {
            cancel: (drain) => this.cancel(runId, drain).then(changed),
            resume: (failedOnly, group) => this.resume(runId, failedOnly, group).then(changed),
          },
      logFile: (worker) => this.file(path(runId, 'log-file', worker ? { worker } : {})),
      resultFile: () => this.file(path(runId, 'result')),
    };
  }

  private url(path: string, of = 'runs'): string {
    return URLExt.join(this.settings.baseUrl, 'parallelrun', of) + path;
  }

  private file(path: string): string | null {
    return this.isRecorded ? null : this.url(path);
  }

  private async json<T>(path: string, init: RequestInit = {}, of?: 'pipelines'): Promise<T> {
    return (await (await this.request(path, init, of)).json()) as T;
  }

  private async request(path: string, init: RequestInit = {}, of?: 'pipelines'): Promise<Response> {
    const response = await ServerConnection.makeRequest(this.url(path, of), init, this.settings);
    if (response.status === 404) {
      throw new RunNotFound(t('the Jupyter server does not have this run'));
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

function path(runId: string, resource: string, query: Record<string, string> = {}): string {
  const parameters = new URLSearchParams(query).toString();
  return `/${encodeURIComponent(runId)}/${resource}${parameters ? `?${parameters}` : ''}`;
}

async function reason(response: Response): Promise<string> {
  try {
    const { message } = (await response.json()) as { message?: string };
    return message || response.statusText;
  } catch {
    return `${response.status} ${response.statusText}`;
  }
}
