import {
  ILabShell,
  ILayoutRestorer,
  type JupyterFrontEnd,
  type JupyterFrontEndPlugin,
} from '@jupyterlab/application';
import { ICommandPalette, MainAreaWidget } from '@jupyterlab/apputils';
import { INotebookTracker } from '@jupyterlab/notebook';
import { IRenderMimeRegistry } from '@jupyterlab/rendermime';
import { RUN_MIME, type RunRow } from '../model/wire';
import { RunsClient } from './client';
import { ILiveRuns, LiveRuns } from './live_run';
import { RunsPanel, runsIcon } from './panel';
import { RunRenderer } from './renderer';
import { RunTab } from './run_tab';
import { widgetDrawer } from './widget_drawer';

const SHOW = 'parallelrun-jupyter:show-runs';
const OPEN = 'parallelrun-jupyter:open-run';
const CATEGORY = 'Parallel runs';
/** Before the widgets' -10: a page that is reloaded has a server, but often no widget. */
const RANK = -20;

/** Asks the server about runs, once for all that draw them. */
export const livePlugin: JupyterFrontEndPlugin<LiveRuns> = {
  id: 'parallelrun-jupyter:live',
  description: 'Asks the server about parallel runs.',
  autoStart: true,
  provides: ILiveRuns,
  activate: (app: JupyterFrontEnd) =>
    new LiveRuns(new RunsClient(app.serviceManager.serverSettings)),
};

/** Draws the runs in saved outputs, and keeps those outputs true. */
export const rendererPlugin: JupyterFrontEndPlugin<void> = {
  id: 'parallelrun-jupyter:renderer',
  description: 'Draws runs in notebooks, live from the server.',
  autoStart: true,
  requires: [ILiveRuns, IRenderMimeRegistry],
  optional: [INotebookTracker],
  activate: (
    _app: JupyterFrontEnd,
    runs: LiveRuns,
    rendermime: IRenderMimeRegistry,
    tracker: INotebookTracker | null,
  ) => {
    const drawWidget = widgetDrawer(tracker);
    const renderers = new Set<RunRenderer>();
    const createRenderer = (): RunRenderer => {
      const renderer = new RunRenderer(runs, drawWidget);
      renderers.add(renderer);
      renderer.disposed.connect(() => renderers.delete(renderer));
      return renderer;
    };
    rendermime.addFactory({ safe: true, mimeTypes: [RUN_MIME], createRenderer }, RANK);
    tracker?.widgetAdded.connect((_, notebook) => {
      notebook.context.saveState.connect((_context, state) => {
        if (state === 'started') {
          for (const renderer of renderers) {
            if (notebook.node.contains(renderer.node)) {
              renderer.save();
            }
          }
        }
      });
    });
  },
};

/** The panel that lists the runs, and the commands that open it and one of them. */
export const panelPlugin: JupyterFrontEndPlugin<void> = {
  id: 'parallelrun-jupyter:panel',
  description: 'Lists the parallel runs, live, and opens one.',
  autoStart: true,
  requires: [ILiveRuns],
  optional: [ILabShell, ICommandPalette, ILayoutRestorer],
  activate: (
    app: JupyterFrontEnd,
    runs: LiveRuns,
    lab: ILabShell | null,
    palette: ICommandPalette | null,
    restorer: ILayoutRestorer | null,
  ) => {
    const open = (row: Pick<RunRow, 'run_id' | 'name'>): boolean => {
      if (lab) {
        openTab(lab, runs, row);
      }
      return lab !== null;
    };
    const panel = new RunsPanel(runs, open);
    app.shell.add(panel, 'left', { rank: 700, type: 'Parallel runs' });
    restorer?.add(panel, panel.id);
    app.commands.addCommand(SHOW, {
      label: 'Show Parallel Runs',
      caption: 'List the parallel runs, live',
      execute: () => app.shell.activateById(panel.id),
    });
    app.commands.addCommand(OPEN, {
      label: 'Open Parallel Run',
      execute: ({ run_id, name }) =>
        open({ run_id: String(run_id ?? ''), name: String(name ?? run_id ?? '') }),
      isVisible: ({ run_id }) => run_id !== undefined,
    });
    palette?.addItem({ command: SHOW, category: CATEGORY });
  },
};

function openTab(lab: ILabShell, runs: LiveRuns, row: Pick<RunRow, 'run_id' | 'name'>): void {
  const id = `parallelrun-run-${row.run_id}`;
  const isOpen = [...lab.widgets('main')].some((widget) => widget.id === id);
  if (!isOpen) {
    const tab = new MainAreaWidget({ content: new RunTab(runs, row.run_id) });
    tab.id = id;
    tab.title.label = row.name;
    tab.title.icon = runsIcon;
    tab.title.caption = row.run_id;
    tab.title.closable = true;
    lab.add(tab, 'main');
  }
  lab.activateById(id);
}
