import {
  ILabShell,
  ILayoutRestorer,
  type JupyterFrontEnd,
  type JupyterFrontEndPlugin,
} from '@jupyterlab/application';
import { ICommandPalette } from '@jupyterlab/apputils';
import { ILauncher } from '@jupyterlab/launcher';
import { INotebookTracker } from '@jupyterlab/notebook';
import { IRunningSessionManagers } from '@jupyterlab/running';
import { ISettingRegistry } from '@jupyterlab/settingregistry';
import { IStatusBar } from '@jupyterlab/statusbar';
import type { RunRow } from '../model/wire';
import { LabActions } from './actions';
import { addCommands, COMMANDS } from './commands';
import { EndNotifications } from './end_notifications';
import { ListFeed } from './list_feed';
import { ILiveRuns, type LiveRuns } from './live_run';
import { RunsPanel } from './panel';
import { RunningRuns } from './running';
import { StatusItem } from './status_item';
import { RunTabs } from './tabs';

const ID = 'parallelrun-jupyter:panel';
const PANEL_RANK = 700;

/** The panel with the list of runs, and the commands, tabs, status bar and notifications. */
export const panelPlugin: JupyterFrontEndPlugin<void> = {
  id: ID,
  description: 'Lists the parallel runs, opens them, and notifies when a run ends.',
  autoStart: true,
  requires: [ILiveRuns],
  optional: [
    ILabShell,
    ICommandPalette,
    ILayoutRestorer,
    INotebookTracker,
    IStatusBar,
    IRunningSessionManagers,
    ILauncher,
    ISettingRegistry,
  ],
  activate: (
    app: JupyterFrontEnd,
    runs: LiveRuns,
    lab: ILabShell | null,
    palette: ICommandPalette | null,
    restorer: ILayoutRestorer | null,
    tracker: INotebookTracker | null,
    statusBar: IStatusBar | null,
    running: IRunningSessionManagers | null,
    launcher: ILauncher | null,
    settings: ISettingRegistry | null,
  ) => {
    const feed = new ListFeed(runs.client);
    runs.onOpen = feed.refresh;
    const tabs = lab ? new RunTabs(lab, runs) : null;
    const open = (row: Pick<RunRow, 'run_id' | 'name'>): boolean => tabs?.open(row) ?? false;
    const actions = new LabActions(runs.client, tracker, feed.refresh);
    const panel = new RunsPanel(runs, feed, actions, open);
    app.shell.add(panel, 'left', { rank: PANEL_RANK, type: 'Parallel runs' });
    const showPanel = (): void => app.shell.activateById(panel.id);
    const openOrShow = (row: RunRow): void => {
      if (!open(row)) {
        showPanel();
      }
    };
    addCommands(app, { feed, actions, open, showPanel, palette, launcher });
    restorer?.add(panel, panel.id);
    if (tabs) {
      void restorer?.restore(tabs.tracker, {
        command: COMMANDS.open,
        args: (tab) => ({ run_id: tab.content.runId, name: tab.title.label }),
        name: (tab) => tab.content.runId,
      });
    }
    const notifications = new EndNotifications(feed, openOrShow);
    const item = new StatusItem(feed, () => {
      const [row] = feed.active;
      (row ? openOrShow : showPanel)(row as RunRow);
    });
    statusBar?.registerStatusItem(`${ID}:status`, { item, align: 'left', rank: 50 });
    running?.add(new RunningRuns(feed, runs.client, openOrShow));
    void follow(settings, (options) => {
      notifications.isEnabled = options.notifications !== false;
      item.setEnabled(options.statusBar !== false);
      feed.refreshSeconds = Number(options.refreshSeconds ?? feed.refreshSeconds);
    });
    feed.refresh();
  },
};

/** Applies the user settings, now and on every change. */
async function follow(
  registry: ISettingRegistry | null,
  apply: (options: Readonly<Record<string, unknown>>) => void,
): Promise<void> {
  try {
    const settings = await registry?.load(ID);
    settings?.changed.connect(() => apply(settings.composite));
    apply(settings?.composite ?? {});
  } catch {
    apply({}); // no settings schema is installed here: use the defaults
  }
}
