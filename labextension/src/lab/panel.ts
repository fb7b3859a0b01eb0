import { LabIcon } from '@jupyterlab/ui-components';
import type { Message } from '@lumino/messaging';
import { Panel } from '@lumino/widgets';
import { sentence } from '../model/host';
import type { RunRow } from '../model/wire';
import { button, el } from '../views/dom';
import { RunListView } from '../views/run_list';
import type { LiveRuns } from './live_run';
import { RunTab } from './run_tab';

const EVERY_MS = 2000;

/** Three bars that have come differently far. */
export const runsIcon = new LabIcon({
  name: 'parallelrun-jupyter:runs',
  svgstr:
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 24 24" width="16">' +
    '<g class="jp-icon3" fill="#616161">' +
    '<path d="M4 5h13v3H4zM4 10.5h16v3H4zM4 16h8v3H4z"/></g></svg>',
});

/** Opens a run elsewhere; false where there is no elsewhere, as in Notebook 7. */
export type Opener = (row: RunRow) => boolean;

/** The "Parallel runs" panel: the runs of this home, live, and one of them opened. */
export class RunsPanel extends Panel {
  private readonly list: RunListView;
  private readonly back: HTMLElement;
  private opened: RunTab | null = null;
  private timer: ReturnType<typeof setTimeout> | undefined;

  constructor(
    private readonly runs: LiveRuns,
    open: Opener,
  ) {
    super();
    this.id = 'parallelrun-runs';
    this.addClass('pr-panel');
    this.title.icon = runsIcon;
    this.title.caption = 'Parallel runs';
    this.list = new RunListView((row) => {
      if (!open(row)) {
        this.openHere(row);
      }
    });
    const back = button('pr-button', '← All runs', () => this.showList());
    this.back = el('div', 'pr-list pr-back', back);
    this.back.hidden = true;
    this.node.append(this.back, this.list.node);
    document.addEventListener('visibilitychange', this.refresh);
  }

  override dispose(): void {
    document.removeEventListener('visibilitychange', this.refresh);
    clearTimeout(this.timer);
    super.dispose();
  }

  protected override onAfterShow(message: Message): void {
    super.onAfterShow(message);
    this.refresh();
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
    this.refresh();
  }

  private readonly refresh = (): void => {
    clearTimeout(this.timer);
    if (!this.isVisible || document.hidden || this.opened) {
      return;
    }
    this.runs.client
      .list()
      .then((found) => this.list.draw(found))
      .catch((error: unknown) => this.list.say(`not live (${sentence(error)})`))
      .finally(() => {
        this.timer = setTimeout(this.refresh, EVERY_MS);
      });
  };
}
