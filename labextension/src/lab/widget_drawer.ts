import type { INotebookTracker } from '@jupyterlab/notebook';
import type { WidgetDrawer } from './renderer';
import { WIDGET_MIME } from './saved_output';

const PATIENCE_MS = 5000;
const LOOK_MS = 100;

/** Draws widgets with what the notebook itself draws widgets with, if it has that. */
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
    // A widget whose kernel is gone draws an error, and one that is slow draws nothing yet.
    for (let waited = 0; waited < PATIENCE_MS && !widget.isDisposed; waited += LOOK_MS) {
      if (widget.node.querySelector('.pr-run')) {
        widget.show();
        return widget;
      }
      await new Promise((resolve) => setTimeout(resolve, LOOK_MS));
    }
    widget.dispose();
    return null;
  };
}
