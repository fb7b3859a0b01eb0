import { Dialog, Notification, showDialog } from '@jupyterlab/apputils';
import { type INotebookTracker, NotebookActions } from '@jupyterlab/notebook';
import { errorMessage } from '../model/host';
import { t } from '../model/words';
import type { RunsClient } from './client';

/** Actions on runs from Lab, outside of the view of a run. */
export class LabActions {
  constructor(
    private readonly client: RunsClient,
    private readonly tracker: INotebookTracker | null,
    private readonly changed: () => void,
  ) {}

  /** Whether a notebook is open that a cell can be added to. */
  get canAttach(): boolean {
    return Boolean(this.tracker?.currentWidget);
  }

  /** Cancels a run after a confirmation dialog. */
  async cancel(runId: string, name: string): Promise<void> {
    const answer = await showDialog({
      title: t('Cancel the run {0}?', name),
      body: t('Finished rows are kept, and the run can be resumed later.'),
      buttons: [
        Dialog.cancelButton({ label: t('Keep running') }),
        Dialog.okButton({ label: t('Finish running mini-batches'), actions: ['drain'] }),
        Dialog.warnButton({ label: t('Stop now'), actions: ['stop'] }),
      ],
    });
    if (answer.button.accept) {
      await this.notify(this.client.cancel(runId, answer.button.actions.includes('drain')));
    }
  }

  /** Resumes a run that has ended. */
  async resume(runId: string): Promise<void> {
    await this.notify(this.client.resume(runId, false));
  }

  /** Shows a run in a new cell of the open notebook. */
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

  private async notify(done: Promise<void>): Promise<void> {
    try {
      await done;
    } catch (error) {
      Notification.error(errorMessage(error));
    }
    this.changed();
  }
}
