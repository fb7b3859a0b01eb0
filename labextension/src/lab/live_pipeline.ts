import type { IRenderMime } from '@jupyterlab/rendermime-interfaces';
import { errorMessage } from '../model/host';
import { PIPELINE_MIME, type PipelineOutput } from '../model/wire';
import { t } from '../model/words';
import { type Bundle, RunNotFound, type RunsClient } from './client';

const LIVE_MS = 1000;
const OFF_SCREEN_MS = 15_000;
const ERROR_MS = 3000;

/** The view that `LivePipeline` keeps up to date. */
export interface PipelinePlace {
  /** Returns whether the view is visible now. */
  isOnScreen(): boolean;
  /** Draws a state that is not worth a write: only its times and log lines are new. */
  draw(bundle: Bundle): void;
  /** Shows why the view is not live; '' if it is. */
  showProblem(problem: string): void;
}

/** Returns the pipeline in the data of an output; undefined in that of a run. */
export function savedPipeline(data: object): PipelineOutput | undefined {
  return (data as Record<string, PipelineOutput | undefined>)[PIPELINE_MIME];
}

/**
 * Polls a pipeline for one output, and writes each new state into the notebook. The place of a step
 * becomes the output of its run as soon as there is one.
 */
export class LivePipeline {
  private timer: ReturnType<typeof setTimeout> | undefined;
  private isPolling = false;
  private isDisposed = false;

  constructor(
    private readonly client: RunsClient,
    private readonly model: IRenderMime.IMimeModel,
    private readonly place: PipelinePlace,
  ) {
    document.addEventListener('visibilitychange', this.refresh);
    this.refresh();
  }

  /** Polls now: the view became visible, or the pipeline was canceled. */
  readonly refresh = (): void => this.schedule(0);

  dispose(): void {
    this.isDisposed = true;
    clearTimeout(this.timer);
    document.removeEventListener('visibilitychange', this.refresh);
  }

  private schedule(delay: number): void {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => void this.poll(), delay);
  }

  private async poll(): Promise<void> {
    const saved = savedPipeline(this.model.data);
    if (!saved || saved.has_ended || this.isPolling || this.isDisposed || document.hidden) {
      return;
    }
    this.isPolling = true;
    let next = ERROR_MS;
    try {
      const bundle = await this.client.pipeline(saved.pipeline_id, saved.step);
      next = this.place.isOnScreen() ? LIVE_MS : OFF_SCREEN_MS;
      if (!this.isDisposed) {
        this.place.showProblem('');
        this.show(bundle);
      }
    } catch (error) {
      const isMissing = error instanceof RunNotFound;
      next = isMissing ? OFF_SCREEN_MS : ERROR_MS;
      this.place.showProblem(
        isMissing
          ? t('no live connection to this pipeline')
          : t('not live ({0}); trying again', errorMessage(error)),
      );
    } finally {
      this.isPolling = false;
    }
    if (!this.isDisposed) {
      this.schedule(next);
    }
  }

  private show(bundle: Bundle): void {
    if (savedPipeline(bundle)?.version === savedPipeline(this.model.data)?.version) {
      this.place.draw(bundle);
    } else {
      this.model.setData({ data: bundle });
    }
  }
}
