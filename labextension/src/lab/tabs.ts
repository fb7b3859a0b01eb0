import type { ILabShell } from '@jupyterlab/application';
import { MainAreaWidget, WidgetTracker } from '@jupyterlab/apputils';
import type { RunRow } from '../model/wire';
import { runsIcon } from './icon';
import type { LiveRuns } from './live_run';
import { RunTab } from './run_tab';

/** The runs open in the main area, one tab each; Lab restores the tabs after a reload. */
export class RunTabs {
  readonly tracker = new WidgetTracker<MainAreaWidget<RunTab>>({ namespace: 'parallelrun' });

  constructor(
    private readonly lab: ILabShell,
    private readonly runs: LiveRuns,
  ) {}

  /** Opens a run, or activates its tab if it is open already; returns true. */
  open(row: Pick<RunRow, 'run_id' | 'name'>): boolean {
    const id = `parallelrun-run-${row.run_id}`;
    const isOpen = this.tracker.find((tab) => tab.id === id) !== undefined;
    if (!isOpen) {
      const tab = new MainAreaWidget({ content: new RunTab(this.runs, row.run_id) });
      tab.id = id;
      tab.title.label = row.name;
      tab.title.icon = runsIcon;
      tab.title.caption = row.run_id;
      tab.title.closable = true;
      this.lab.add(tab, 'main');
      void this.tracker.add(tab);
    }
    this.lab.activateById(id);
    return true;
  }
}
