import type { Message } from '@lumino/messaging';
import { Widget } from '@lumino/widgets';
import type { RunOutput } from '../model/wire';
import { t } from '../model/words';
import { RunActions } from '../views/actions';
import { el, setHidden, setText } from '../views/dom';
import { RunView } from '../views/run';
import type { LiveRuns, Watcher } from './live_run';

/** The view of one run in a tab or in the panel. */
export class RunTab extends Widget implements Watcher {
  private readonly view: RunView;
  /** The text shown until the first state of the run arrives. */
  private readonly placeholder = el('div', 'pr-list');
  private leave: (() => void) | null = null;

  constructor(
    private readonly runs: LiveRuns,
    readonly runId: string,
  ) {
    super();
    this.addClass('pr-tab');
    const host = runs.host(runId);
    this.view = new RunView(host, RunActions.of(host));
    this.node.append(this.placeholder, this.view.node);
    this.view.node.hidden = true;
  }

  isOnScreen(): boolean {
    return this.isVisible && !document.hidden;
  }

  draw(output: RunOutput): void {
    setHidden(this.placeholder, true);
    setHidden(this.view.node, false);
    this.view.draw(output, true);
  }

  showProblem(problem: string): void {
    this.setNote(problem);
  }

  onMissing(): void {
    this.setNote(t('the run folder no longer exists'));
  }

  private setNote(text: string): void {
    setText(this.placeholder, text);
    this.view.setNote(text);
  }

  override dispose(): void {
    if (!this.isDisposed) {
      this.disconnect();
      this.view.dispose();
      super.dispose();
    }
  }

  protected override onAfterShow(message: Message): void {
    super.onAfterShow(message);
    this.leave ??= this.runs.get(this.runId).add(this);
  }

  protected override onAfterAttach(message: Message): void {
    super.onAfterAttach(message);
    if (this.isVisible) {
      this.leave ??= this.runs.get(this.runId).add(this);
    }
  }

  protected override onAfterHide(message: Message): void {
    super.onAfterHide(message);
    this.disconnect();
  }

  private disconnect(): void {
    this.leave?.();
    this.leave = null;
  }
}
