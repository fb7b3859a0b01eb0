import type { JupyterFrontEnd, JupyterFrontEndPlugin } from '@jupyterlab/application';
import { PageConfig } from '@jupyterlab/coreutils';
import { INotebookTracker } from '@jupyterlab/notebook';
import { IRenderMimeRegistry } from '@jupyterlab/rendermime';
import type { IRenderMime } from '@jupyterlab/rendermime-interfaces';
import { ITranslator } from '@jupyterlab/translation';
import { PIPELINE_MIME, RUN_MIME } from '../model/wire';
import { setTranslator } from '../model/words';
import { RunsClient } from './client';
import { ILiveRuns, LiveRuns } from './live_run';
import { PipelineRenderer } from './pipeline_renderer';
import { RunRenderer } from './renderer';
import { widgetDrawer } from './widget_drawer';

/** Ranks before the widget renderer (-10): a reloaded page often has no widget model. */
const RANK = -20;

/** Returns the client of the server, or of the recordings of a JupyterLite site. */
function clientOf({ serviceManager: { contents, serverSettings } }: JupyterFrontEnd): RunsClient {
  if (PageConfig.getOption('appName') !== 'JupyterLite') {
    return new RunsClient(serverSettings);
  }
  // Loaded there only.
  const loaded = import('./recorded_routes').then((module) => new module.RecordedRoutes(contents));
  const fetch: typeof window.fetch = async (input) => (await loaded).fetch(input);
  return new RunsClient({ ...serverSettings, fetch }, true);
}

/** Provides the shared `LiveRuns`, which polls the server. */
export const livePlugin: JupyterFrontEndPlugin<LiveRuns> = {
  id: 'parallelrun-jupyter:live',
  description: 'Polls the server for parallel runs.',
  autoStart: true,
  provides: ILiveRuns,
  optional: [ITranslator],
  activate: (app: JupyterFrontEnd, translator: ITranslator | null) => {
    const words = translator?.load('parallelrun_jupyter');
    setTranslator(
      words
        ? {
            text: (text) => words.gettext(text),
            plural: (singular, plural, value) => words.ngettext(singular, plural, value),
          }
        : null,
    );
    return new LiveRuns(clientOf(app));
  },
};

/** Renders runs in notebook outputs, and keeps the saved outputs up to date. */
export const rendererPlugin: JupyterFrontEndPlugin<void> = {
  id: 'parallelrun-jupyter:renderer',
  description: 'Renders runs in notebooks, live from the server.',
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
    const pipelineFactory: IRenderMime.IRendererFactory = {
      safe: true,
      mimeTypes: [PIPELINE_MIME],
      createRenderer: () => new PipelineRenderer(runs.client, rendermime),
    };
    rendermime.addFactory(pipelineFactory, RANK);
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
