import { type IRenderMimeRegistry, MimeModel } from '@jupyterlab/rendermime';
import type { IRenderMime } from '@jupyterlab/rendermime-interfaces';
import { Panel } from '@lumino/widgets';
import { PipelineActions } from '../views/pipeline_actions';
import { VisibilityObserver } from '../views/visibility';
import type { Bundle, RunsClient } from './client';
import { LivePipeline, type PipelinePlace, savedPipeline } from './live_pipeline';

/** Renders a pipeline with its own HTML, live from the server, and with a button to cancel it. */
export class PipelineRenderer extends Panel implements IRenderMime.IRenderer, PipelinePlace {
  private readonly content: IRenderMime.IRenderer;
  private readonly actions: PipelineActions;
  private readonly visibility: VisibilityObserver;
  private live: LivePipeline | null = null;
  private pipelineId = '';

  constructor(
    private readonly client: RunsClient,
    registry: IRenderMimeRegistry,
  ) {
    super();
    this.addClass('pr-pipeline');
    this.content = registry.createRenderer('text/html');
    this.addWidget(this.content);
    this.actions = new PipelineActions(async () => {
      await client.cancelPipeline(this.pipelineId);
      this.live?.refresh();
    });
    this.node.append(this.actions.node);
    this.visibility = new VisibilityObserver(this.node, () => this.live?.refresh());
  }

  async renderModel(model: IRenderMime.IMimeModel): Promise<void> {
    this.live ??= new LivePipeline(this.client, model, this);
    await this.render(model);
  }

  isOnScreen(): boolean {
    return this.visibility.isVisible;
  }

  draw(bundle: Bundle): void {
    if (this.hasSelection()) {
      return; // the reader is about to copy something
    }
    void this.render(new MimeModel({ data: bundle, trusted: true }));
  }

  showProblem(problem: string): void {
    this.actions.setNote(problem);
  }

  override dispose(): void {
    if (!this.isDisposed) {
      this.live?.dispose();
      this.visibility.dispose();
      super.dispose();
    }
  }

  private hasSelection(): boolean {
    const selection = document.getSelection();
    return selection?.type === 'Range' && this.node.contains(selection.anchorNode);
  }

  private async render(model: IRenderMime.IMimeModel): Promise<void> {
    const saved = savedPipeline(model.data);
    this.pipelineId = saved?.pipeline_id ?? '';
    this.actions.draw(saved?.may_cancel ?? false);
    await this.content.renderModel(model);
  }
}
