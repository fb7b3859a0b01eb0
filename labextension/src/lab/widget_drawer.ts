import type { INotebookTracker } from '@jupyterlab/notebook';
import type { WidgetDrawer } from './renderer';
import { WIDGET_MIME } from './saved_output';

const TIMEOUT_MS = 5000;
const POLL_MS = 100;

/** Renders widgets with the notebook's own widget renderer, if it has one. */
export function widgetDrawer(tracker: INotebookTracker | null): WidgetDrawer {
  return async (panel, model) => {
    const notebook = tracker?.find((candidate) => candidate.node.contains(panel.node));
    const rendermime = notebook?.content.rendermime;
    if (!rendermime?.mimeTypes.includes(WIDGET_MIME)) {
      return null;
    }
    const widget = rendermime.createRenderer(WIDGET_MIME);
    widget.hide();
    panel.addWidget(widget);
    try {
      await widget.renderModel(model);
    } catch {
      widget.dispose();
      return null;
    }
    // The widget of a dead kernel renders an error; a slow one has not rendered anything yet.
    for (let waited = 0; waited < TIMEOUT_MS && !widget.isDisposed; waited += POLL_MS) {
      if (widget.node.querySelector('.pr-run')) {
        widget.show();
        return widget;
      }
      await new Promise((resolve) => setTimeout(resolve, POLL_MS));
    }
    widget.dispose();
    return null;
  };
}
