import type { Contents } from '@jupyterlab/services';
import { errorMessage } from '../model/host';
import { RecordedHost } from '../model/recorded_host';
import { type Moment, momentsOf, usualSpeed } from '../model/recording';
import { type Recording, RUN_MIME, type RunList, type RunOutput, type RunRow } from '../model/wire';
import { t } from '../model/words';

/** The folder of the recordings, among the files of the site. */
const FOLDER = 'recordings';

/** A recorded run that plays from the moment it is first looked at. */
class PlayingRun {
  private readonly host: RecordedHost;
  private startedAt = 0;

  constructor(
    private readonly recording: Recording,
    private readonly moments: readonly Moment[],
    readonly sizeBytes: number,
  ) {
    this.host = new RecordedHost(recording);
  }

  /** The time at which the run was created, in seconds since the epoch. */
  get createdAt(): number {
    const { at, snapshot } = this.moments[0]?.output ?? this.recording.output;
    return at - snapshot.at_s;
  }

  /** Returns the number of the moment that is shown, and the state of the run. */
  now(): readonly [number, RunOutput] {
    const last = this.moments[this.moments.length - 1];
    if (!last || !this.startedAt) {
      return [this.moments.length - 1, this.recording.output];
    }
    const position = (Date.now() - this.startedAt) * usualSpeed(last.position);
    const next = this.moments.findIndex((moment) => moment.position > position);
    const index = Math.max(0, (next < 0 ? this.moments.length : next) - 1);
    return [index, this.moments[index]?.output ?? this.recording.output];
  }

  /** Answers a query of a view. */
  async answer(resource: string, query: URLSearchParams, body: never): Promise<unknown> {
    this.startedAt ||= Date.now();
    const [index, output] = this.now();
    this.host.moveTo(output);
    const number = (name: string): number => Number(query.get(name));
    const answers: Readonly<Record<string, () => unknown>> = {
      snapshot: () => (query.get('seen') === String(index) ? null : output),
      output: () => ({ [RUN_MIME]: output }),
      logs: () => this.host.logs(body),
      failures: () => this.host.failures(query.get('group') ?? ''),
      'failed-items': () => this.host.failedItems(query.get('group') ?? ''),
      results: () => this.host.results(body),
      previews: () => this.host.previews((body as { items: [] }).items),
      'mini-batch': () => this.host.miniBatch(number('mini_batch')),
      grid: () => this.host.grid(number('first')),
    };
    const answer = answers[resource];
    if (!answer) {
      throw new Error(t('a recorded run can be neither canceled nor resumed'));
    }
    return answer();
  }
}

/**
 * Answers the requests for the server extension from recordings among the files of a JupyterLite site,
 * which has no server. Each run plays once, from the moment it is first looked at.
 */
export class RecordedRoutes {
  private runs: Promise<ReadonlyMap<string, PlayingRun>> | null = null;

  constructor(private readonly contents: Contents.IManager) {}

  /** Takes the place of `fetch` in the settings of the server's connection. */
  readonly fetch = async (input: RequestInfo | URL): Promise<Response> => {
    const request = input as Request;
    this.runs ??= this.read();
    const runs = await this.runs;
    const url = new URL(request.url);
    const [of, id = '', resource = ''] =
      url.pathname.split('/parallelrun/').pop()?.split('/') ?? [];
    if (of === 'runs' && !id) {
      return Response.json(listOf(runs));
    }
    const run = of === 'runs' ? runs.get(decodeURIComponent(id)) : undefined;
    if (!run) {
      return new Response('', { status: 404 });
    }
    try {
      const body = request.method === 'POST' ? await request.json() : null;
      const answer = await run.answer(resource, url.searchParams, body as never);
      const headers = { 'X-Run-Version': String(run.now()[0]) };
      return answer === null
        ? new Response(null, { status: 204, headers })
        : Response.json(answer, { headers });
    } catch (error) {
      return Response.json({ message: errorMessage(error) }, { status: 400 });
    }
  };

  private async read(): Promise<ReadonlyMap<string, PlayingRun>> {
    const runs = new Map<string, PlayingRun>();
    for (const { path, size, type } of await this.list()) {
      if (type !== 'directory' && path.endsWith('.json')) {
        try {
          const recording = await this.recording(path);
          const moments = await momentsOf(recording);
          runs.set(recording.output.run_id, new PlayingRun(recording, moments, size ?? 0));
        } catch (error) {
          // The others are still shown.
          // biome-ignore lint/suspicious/noConsole: a site has no place of its own for this
          console.warn(t('The recording cannot be shown: {0}', `${path}: ${errorMessage(error)}`));
        }
      }
    }
    return runs;
  }

  private async recording(path: string): Promise<Recording> {
    const { content } = await this.contents.get(path, { content: true });
    return typeof content === 'string' ? JSON.parse(content) : content;
  }

  private async list(): Promise<readonly Contents.IModel[]> {
    try {
      return (await this.contents.get(FOLDER, { content: true })).content as Contents.IModel[];
    } catch {
      return []; // the site has no recordings
    }
  }
}

function listOf(runs: ReadonlyMap<string, PlayingRun>): RunList {
  const rows = [...runs.values()].map(rowOf);
  return { runs: rows.sort((one, other) => other.created_at - one.created_at), hidden: 0 };
}

function rowOf(run: PlayingRun): RunRow {
  const [, { headline, snapshot }] = run.now();
  return {
    ...snapshot,
    headline,
    created_at: run.createdAt,
    is_read: true,
    can_resume: false,
    usd: snapshot.calls?.usd ?? 0,
    size_bytes: run.sizeBytes,
  };
}
