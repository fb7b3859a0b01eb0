import { Dialog, Notification, showDialog } from '@jupyterlab/apputils';
import { type INotebookTracker, NotebookActions } from '@jupyterlab/notebook';
import { sentence } from '../model/host';
import { t } from '../model/words';
import type { RunsClient } from './client';

/** What can be done to a run from Lab, beyond its own view. */
export class LabActions {
  constructor(
    private readonly client: RunsClient,
    private readonly tracker: INotebookTracker | null,
    private readonly changed: () => void,
  ) {}

  /** Whether there is a notebook to put a cell into. */
  get canAttach(): boolean {
    return Boolean(this.tracker?.currentWidget);
  }

  /** Ends a run, having asked how. */
  async cancel(runId: string, name: string): Promise<void> {
    const answer = await showDialog({
      title: t('End the run {0}?', name),
      body: t('Rows that are finished are kept, and the run can be resumed.'),
      buttons: [
        Dialog.cancelButton({ label: t('Go on') }),
        Dialog.okButton({ label: t('Finish running ones'), actions: ['drain'] }),
        Dialog.warnButton({ label: t('Stop now'), actions: ['stop'] }),
      ],
    });
    if (answer.button.accept) {
      await this.say(this.client.cancel(runId, answer.button.actions.includes('drain')));
    }
  }

  /** Goes on with a run that has ended. */
  async resume(runId: string): Promise<void> {
    await this.say(this.client.resume(runId, false));
  }

  /** Shows a run in a new cell of the notebook that is open. */
  async attach(runId: string): Promise<void> {
    const notebook = this.tracker?.currentWidget;
    if (!notebook) {
      return;
    }
    NotebookActions.insertBelow(notebook.content);
    const { activeCell } = notebook.content;
    activeCell?.model.sharedModel.setSource(
      'from parallelrun_jupyter import Run, RunDetails\n\n' +
        `run = Run.attach("${runId}")\nRunDetails(run).show()`,
    );
    await NotebookActions.run(notebook.content, notebook.sessionContext);
  }

  private async say(done: Promise<void>): Promise<void> {
    try {
      await done;
    } catch (error) {
      Notification.error(sentence(error));
    }
    this.changed();
  }
}
