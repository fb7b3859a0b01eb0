import { errorMessage } from '../model/host';
import { t } from '../model/words';
import { button, el, setHidden, setText } from './dom';

/** The buttons that cancel a pipeline, after a confirmation, and the notes about it. */
export class PipelineActions {
  readonly node = el('div', 'pr-list');
  private readonly cancel = button('pr-button', t('Cancel the pipeline'), () => this.open(true));
  private readonly dismiss = button('pr-button', t('Keep running'), () => this.open(false));
  private readonly choices = el('span', 'pr-choices');
  private readonly note = el('span', 'pr-said');
  private isSent = false;
  private mayCancel = false;

  /** @param send - Sends the request to cancel. */
  constructor(private readonly send: () => Promise<void>) {
    const stop = button('pr-button pr-danger', t('Stop now'), () => void this.stop());
    this.choices.append(stop, this.dismiss);
    this.note.setAttribute('role', 'status');
    this.node.append(this.cancel, this.choices, this.note);
    this.show(false);
  }

  draw(mayCancel: boolean): void {
    if (this.mayCancel && !mayCancel) {
      this.isSent = false;
      this.setNote('');
    }
    this.mayCancel = mayCancel;
    this.show(!this.choices.hidden);
  }

  setNote(text: string): void {
    setText(this.note, text || (this.isSent ? t('canceling') : ''));
  }

  private show(isOpen: boolean): void {
    const isOffered = this.mayCancel && !this.isSent;
    setHidden(this.cancel, !isOffered || isOpen);
    setHidden(this.choices, !isOffered || !isOpen);
  }

  private open(isOpen: boolean): void {
    this.show(isOpen);
    // A second Enter must not cancel the pipeline, so the harmless choice gets the focus.
    (isOpen ? this.dismiss : this.cancel).focus();
  }

  private async stop(): Promise<void> {
    this.isSent = true;
    this.show(false);
    this.setNote('');
    try {
      await this.send();
    } catch (error) {
      this.isSent = false;
      this.show(false);
      this.setNote(errorMessage(error));
    }
  }
}
