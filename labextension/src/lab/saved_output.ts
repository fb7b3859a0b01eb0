import type { IRenderMime } from '@jupyterlab/rendermime-interfaces';
import type { PartialJSONObject } from '@lumino/coreutils';
import { RUN_MIME, type RunOutput, type Snapshot } from '../model/wire';
import type { Bundle, RunsClient } from './client';

export const WIDGET_MIME = 'application/vnd.jupyter.widget-view+json';
const FRESH_MS = 10_000;

/** Returns the run stored in the data of an output. */
export function savedRun(model: IRenderMime.IMimeModel): RunOutput {
  return model.data[RUN_MIME] as unknown as RunOutput;
}

/**
 * Keeps the saved output of a run up to date: it is written at milestones, at the end, and when the
 * notebook is saved, from a bundle that the server rendered shortly before.
 */
export class SavedOutput {
  private latest: Bundle | null = null;
  private fetchedAt = 0;
  private stage = -1;
  private isFetching = false;

  constructor(
    private readonly client: RunsClient,
    private readonly model: () => IRenderMime.IMimeModel | null,
  ) {}

  /** Receives a new state of the run; fetches a bundle if it is a milestone or the last is old. */
  draw(output: RunOutput): void {
    const model = this.model();
    if (!model || isSame(savedRun(model).snapshot, output.snapshot)) {
      return;
    }
    const isNew = output.stage > this.stage || output.snapshot.is_final;
    const isOld = Date.now() - this.fetchedAt > FRESH_MS;
    if ((isNew || isOld) && (!this.isFetching || output.snapshot.is_final)) {
      this.isFetching = true;
      this.fetchedAt = Date.now();
      const wasFirst = this.stage < 0;
      this.stage = output.stage;
      void this.fetch(output, isNew && !wasFirst);
    }
  }

  /** Writes the newest bundle into the notebook. */
  write(): void {
    const model = this.model();
    if (!model || !this.latest) {
      return;
    }
    const latest = this.latest[RUN_MIME] as unknown as RunOutput;
    const saved = savedRun(model);
    if (latest.at <= saved.at || isSame(saved.snapshot, latest.snapshot)) {
      return;
    }
    const data: PartialJSONObject = { ...(model.data as PartialJSONObject), ...this.latest };
    if (latest.snapshot.is_final) {
      delete data[WIDGET_MIME]; // the final output must render without a kernel
    }
    model.setData({ data });
  }

  private async fetch(output: RunOutput, isMilestone: boolean): Promise<void> {
    try {
      this.latest = await this.client.bundle(output.run_id);
      if (isMilestone || output.snapshot.is_final) {
        this.write();
      }
    } catch {
      this.stage = -1; // fetch again at the next change
    } finally {
      this.isFetching = false;
    }
  }
}

/** Returns whether two snapshots differ in nothing but times, which are not worth a write. */
function isSame(left: Snapshot, right: Snapshot): boolean {
  return (
    left.state === right.state &&
    left.succeeded === right.succeeded &&
    left.failed === right.failed &&
    left.attempts_failed === right.attempts_failed &&
    left.mini_batches === right.mini_batches &&
    left.output === right.output
  );
}
