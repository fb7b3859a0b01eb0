import type { Message } from '@lumino/messaging';
import { Widget } from '@lumino/widgets';
import type { RunOutput } from '../model/wire';
import { RunView } from '../views/run';
import type { LiveRuns, Watcher } from './live_run';

/** One run in a place of its own. */
export class RunTab extends Widget implements Watcher {
  private readonly view: RunView;
  private leave: (() => void) | null = null;

  constructor(
    private readonly runs: LiveRuns,
    readonly runId: string,
  ) {
    super();
    this.addClass('pr-tab');
    this.view = new RunView(runs.host(runId));
    this.node.append(this.view.node);
    this.view.node.hidden = true;
  }

  isSeen(): boolean {
    return this.isVisible && !document.hidden;
  }

  draw(output: RunOutput): void {
    this.view.node.hidden = false;
    this.view.draw(output, true);
  }

  say(problem: string): void {
    this.view.say(problem);
  }

  gone(): void {
    this.view.say('the run folder is gone');
  }

  override dispose(): void {
    if (!this.isDisposed) {
      this.rest();
      this.view.dispose();
      super.dispose();
    }
  }

  protected override onAfterShow(message: Message): void {
    super.onAfterShow(message);
    this.leave ??= this.runs.find(this.runId).add(this);
  }

  protected override onAfterAttach(message: Message): void {
    super.onAfterAttach(message);
    if (this.isVisible) {
      this.leave ??= this.runs.find(this.runId).add(this);
    }
  }

  protected override onAfterHide(message: Message): void {
    super.onAfterHide(message);
    this.rest();
  }

  private rest(): void {
    this.leave?.();
    this.leave = null;
  }
}
