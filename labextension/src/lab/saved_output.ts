import type { IRenderMime } from '@jupyterlab/rendermime-interfaces';
import type { PartialJSONObject } from '@lumino/coreutils';
import { RUN_MIME, type RunOutput, type Snapshot } from '../model/wire';
import type { Bundle, RunsClient } from './client';

export const WIDGET_MIME = 'application/vnd.jupyter.widget-view+json';
const FRESH_MS = 10_000;

/** Reads the run out of the data of an output. */
export function savedRun(model: IRenderMime.IMimeModel): RunOutput {
  return model.data[RUN_MIME] as unknown as RunOutput;
}

/**
 * Keeps what the notebook holds of a run true: written at the milestones, at the end and when the
 * notebook is saved, from what the server made for it a moment before.
 */
export class SavedOutput {
  private latest: Bundle | null = null;
  private askedAt = 0;
  private stage = -1;
  private isAsking = false;

  constructor(
    private readonly client: RunsClient,
    private readonly model: () => IRenderMime.IMimeModel | null,
  ) {}

  /** Takes the news of a run. */
  draw(output: RunOutput): void {
    const model = this.model();
    if (!model || isSame(savedRun(model).snapshot, output.snapshot)) {
      return;
    }
    const isNew = output.stage > this.stage || output.snapshot.is_final;
    const isOld = Date.now() - this.askedAt > FRESH_MS;
    if ((isNew || isOld) && (!this.isAsking || output.snapshot.is_final)) {
      this.isAsking = true;
      this.askedAt = Date.now();
      const wasFirst = this.stage < 0;
      this.stage = output.stage;
      void this.ask(output, isNew && !wasFirst);
    }
  }

  /** Writes what is known into the notebook: it is about to be saved. */
  write(): void {
    const model = this.model();
    if (!model || !this.latest) {
      return;
    }
    const known = this.latest[RUN_MIME] as unknown as RunOutput;
    const saved = savedRun(model);
    if (known.at <= saved.at || isSame(saved.snapshot, known.snapshot)) {
      return;
    }
    const data: PartialJSONObject = { ...(model.data as PartialJSONObject), ...this.latest };
    if (known.snapshot.is_final) {
      delete data[WIDGET_MIME]; // what is saved last must stand without a kernel
    }
    model.setData({ data });
  }

  private async ask(output: RunOutput, isToWrite: boolean): Promise<void> {
    try {
      this.latest = await this.client.bundle(output.run_id);
      if (isToWrite || output.snapshot.is_final) {
        this.write();
      }
    } catch {
      this.stage = -1; // asked again at the next news
    } finally {
      this.isAsking = false;
    }
  }
}

/** Whether two snapshots tell a reader the same; the clock alone is no reason to write. */
function isSame(one: Snapshot, other: Snapshot): boolean {
  return (
    one.state === other.state &&
    one.succeeded === other.succeeded &&
    one.failed === other.failed &&
    one.attempts_failed === other.attempts_failed &&
    one.mini_batches === other.mini_batches &&
    one.output === other.output
  );
}
