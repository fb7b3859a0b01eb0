import type { IRenderMime } from '@jupyterlab/rendermime-interfaces';
import { Panel, type Widget } from '@lumino/widgets';
import type { RunOutput } from '../model/wire';
import { t } from '../model/words';
import { RunActions } from '../views/actions';
import { RunView } from '../views/run';
import { VisibilityObserver } from '../views/visibility';
import type { LiveRuns, Watcher } from './live_run';
import { SavedOutput, savedRun, WIDGET_MIME } from './saved_output';

/** Renders the widget of an output into a panel; resolves to null if that fails. */
export type WidgetDrawer = (panel: Panel, model: IRenderMime.IMimeModel) => Promise<Widget | null>;

/** Renders a saved output: live from the server, else by its widget, else as it was saved. */
export class RunRenderer extends Panel implements IRenderMime.IRenderer, Watcher {
  private model: IRenderMime.IMimeModel | null = null;
  private view: RunView | null = null;
  private runId = '';
  private leave: (() => void) | null = null;
  private isLive = false;
  private fallback: Widget | null = null;
  private readonly saved: SavedOutput;
  private visibility: VisibilityObserver | null = null;

  constructor(
    private readonly runs: LiveRuns,
    private readonly drawWidget: WidgetDrawer,
  ) {
    super();
    this.addClass('pr-saved-run');
    this.saved = new SavedOutput(runs.client, () => this.model);
  }

  renderModel(model: IRenderMime.IMimeModel): Promise<void> {
    this.model = model;
    const output = savedRun(model);
    if (output.run_id !== this.runId) {
      this.start(output);
    } else if (!this.isLive && output.at > (this.view?.shown?.at ?? 0)) {
      this.view?.draw(output, false);
    }
    return Promise.resolve();
  }

  /** Updates the output data before the notebook is saved. */
  save(): void {
    this.saved.write();
  }

  isOnScreen(): boolean {
    return this.visibility?.isVisible ?? false;
  }

  draw(output: RunOutput): void {
    this.isLive = true;
    this.view?.draw(output, true);
    this.saved.draw(output);
  }

  showProblem(problem: string): void {
    this.view?.setNote(problem);
  }

  onMissing(): void {
    this.isLive = false;
    if (this.view?.shown && !this.view.shown.snapshot.is_final) {
      this.view.setNote(t('no live connection to this run'));
    }
    void this.fallBack();
  }

  override dispose(): void {
    if (!this.isDisposed) {
      this.stop();
      super.dispose();
    }
  }

  private start(output: RunOutput): void {
    this.stop();
    this.runId = output.run_id;
    const host = this.runs.host(output.run_id);
    this.view = new RunView(host, RunActions.of(host));
    this.view.draw(output, false);
    this.node.append(this.view.node);
    const run = this.runs.get(output.run_id);
    this.visibility = new VisibilityObserver(this.node, (isVisible) => {
      if (isVisible) {
        run.refresh();
      }
    });
    this.leave = run.add(this);
  }

  private stop(): void {
    this.leave?.();
    this.leave = null;
    this.visibility?.dispose();
    this.view?.dispose();
    this.view = null;
    this.fallback?.dispose();
    this.fallback = null;
    this.isLive = false;
  }

  private async fallBack(): Promise<void> {
    if (!this.model || this.fallback || !(WIDGET_MIME in this.model.data)) {
      return;
    }
    this.fallback = await this.drawWidget(this, this.model);
    if (this.fallback && this.view) {
      this.view.node.hidden = true;
    }
  }
}
