import type { IRenderMime } from '@jupyterlab/rendermime-interfaces';
import { Panel, type Widget } from '@lumino/widgets';
import type { RunOutput } from '../model/wire';
import { RunView } from '../views/run';
import { Sight } from '../views/sight';
import type { LiveRuns, Watcher } from './live_run';
import { SavedOutput, savedRun, WIDGET_MIME } from './saved_output';

const APART = 'no live connection to this run from here';

/** Puts the widget of an output into a panel that stands in a notebook; null where none draws. */
export type WidgetDrawer = (panel: Panel, model: IRenderMime.IMimeModel) => Promise<Widget | null>;

/** Draws a saved output: live from the server, else by the widget, else as it was saved. */
export class RunRenderer extends Panel implements IRenderMime.IRenderer, Watcher {
  private model: IRenderMime.IMimeModel | null = null;
  private view: RunView | null = null;
  private runId = '';
  private leave: (() => void) | null = null;
  private isLive = false;
  private fallback: Widget | null = null;
  private readonly saved: SavedOutput;
  private sight: Sight | null = null;

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

  /** The notebook is about to be saved. */
  save(): void {
    this.saved.write();
  }

  isSeen(): boolean {
    return this.sight?.isVisible ?? false;
  }

  draw(output: RunOutput): void {
    this.isLive = true;
    this.view?.draw(output, true);
    this.saved.draw(output);
  }

  say(problem: string): void {
    this.view?.say(problem);
  }

  gone(): void {
    this.isLive = false;
    if (this.view?.shown && !this.view.shown.snapshot.is_final) {
      this.view.say(APART);
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
    this.view = new RunView(this.runs.host(output.run_id));
    this.view.draw(output, false);
    this.node.append(this.view.node);
    const run = this.runs.find(output.run_id);
    this.sight = new Sight(this.node, (isVisible) => {
      if (isVisible) {
        run.hurry();
      }
    });
    this.leave = run.add(this);
  }

  private stop(): void {
    this.leave?.();
    this.leave = null;
    this.sight?.dispose();
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
