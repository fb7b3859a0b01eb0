import type { Message } from '@lumino/messaging';
import { Panel } from '@lumino/widgets';
import type { RunRow } from '../model/wire';
import { t } from '../model/words';
import { button, el } from '../views/dom';
import { RunListView } from '../views/run_list';
import type { LabActions } from './actions';
import { runsIcon } from './icon';
import type { ListFeed } from './list_feed';
import type { LiveRuns } from './live_run';
import { RunTab } from './run_tab';

/** Opens a run in a tab; returns false if tabs are not available, as in Notebook 7. */
export type Opener = (row: RunRow) => boolean;

/** The "Parallel runs" panel: the list of runs, or one opened run. */
export class RunsPanel extends Panel {
  private readonly list: RunListView;
  private readonly back: HTMLElement;
  private opened: RunTab | null = null;

  constructor(
    private readonly runs: LiveRuns,
    private readonly feed: ListFeed,
    actions: LabActions,
    open: Opener,
  ) {
    super();
    this.id = 'parallelrun-runs';
    this.addClass('pr-panel');
    this.title.icon = runsIcon;
    this.title.caption = t('Parallel runs');
    this.list = new RunListView({
      open: (row) => {
        if (!open(row)) {
          this.openHere(row);
        }
      },
      cancel: (row) => void actions.cancel(row.run_id, row.name),
      resume: (row) => void actions.resume(row.run_id),
      attach: (row) => void actions.attach(row.run_id),
      canAttach: () => actions.canAttach,
    });
    const back = button('pr-button', t('← All runs'), () => this.showList());
    this.back = el('div', 'pr-list pr-back', back);
    this.back.hidden = true;
    this.node.append(this.back, this.list.node);
    feed.addViewer(() => this.isVisible && this.opened === null);
    feed.changed.connect(this.draw, this);
  }

  protected override onAfterShow(message: Message): void {
    super.onAfterShow(message);
    this.draw();
    this.feed.refresh();
  }

  private draw(): void {
    if (!this.isVisible || this.opened) {
      return;
    }
    if (this.feed.latest) {
      this.list.draw(this.feed.latest);
    }
    if (this.feed.problem) {
      this.list.setNote(t('not live ({0})', this.feed.problem));
    }
  }

  private openHere(row: RunRow): void {
    this.opened?.dispose();
    this.opened = new RunTab(this.runs, row.run_id);
    this.addWidget(this.opened);
    this.list.node.hidden = true;
    this.back.hidden = false;
    this.back.querySelector('button')?.focus();
  }

  private showList(): void {
    this.opened?.dispose();
    this.opened = null;
    this.list.node.hidden = false;
    this.back.hidden = true;
    this.draw();
    this.feed.refresh();
  }
}
