import { errorMessage, type Host } from '../model/host';
import { mayResume } from '../model/resume';
import type { RunOutput, Snapshot } from '../model/wire';
import { t } from '../model/words';
import { button, el, setHidden, setText } from './dom';
import { RetryButton } from './retry_button';
import type { Section } from './section';

const SLOW_MS = 1500;

/** The buttons that cancel the run, after a confirmation, or resume it. */
export class RunActions implements Section {
  readonly node = el('span', 'pr-actions');
  private readonly cancel = button('pr-button', t('Cancel'), () => this.showChoices(true));
  private readonly dismiss = button('pr-button', t('Keep running'), () => this.showChoices(false));
  private readonly choices = el('span', 'pr-choices');
  private readonly resume = button('pr-button', t('Resume'), () => this.send('resume'));
  private readonly result = el('a', 'pr-button', t('Open output'));
  private readonly status = el('span', 'pr-said');
  private isPending = false;
  private mayOfferResume = false;
  private isFinal = false;

  /** Returns the buttons of a run, or null if the host cannot act on it. */
  static of(host: Host): RunActions | null {
    return host.actions ? new RunActions(host) : null;
  }

  constructor(private readonly host: Host) {
    this.choices.append(
      button('pr-button pr-danger', t('Stop now'), () => this.send('stop')),
      button('pr-button', t('Finish running mini-batches'), () => this.send('drain')),
      this.dismiss,
    );
    this.choices.hidden = true;
    this.status.setAttribute('role', 'status');
    this.result.target = '_blank';
    this.result.rel = 'noopener';
    this.node.append(this.cancel, this.choices, this.resume, this.result, this.status);
  }

  /** Returns a button that runs the failed items of a group again, or with `''` all. */
  retryButton(group: string): RetryButton {
    return new RetryButton(group, () => this.send('retry', group));
  }

  draw({ snapshot }: RunOutput): void {
    if (snapshot.is_final !== this.isFinal) {
      this.isFinal = snapshot.is_final;
      this.isPending = false;
      this.showChoices(false);
      this.setStatus('');
    }
    const canAct = this.host.actions !== null;
    setHidden(this.cancel, !canAct || this.isFinal || this.isPending || !this.choices.hidden);
    this.mayOfferResume = canAct && canResume(snapshot);
    setHidden(this.resume, this.isPending || !this.mayOfferResume);
    const file = snapshot.output ? this.host.resultFile() : null;
    setHidden(this.result, file === null);
    if (file !== null) {
      this.result.href = file;
    }
  }

  private showChoices(isOpen: boolean): void {
    const root = this.node.getRootNode() as Document | ShadowRoot; // where the focus is told
    const hadFocus = this.node.contains(root.activeElement);
    setHidden(this.choices, !isOpen);
    setHidden(this.cancel, isOpen || this.isPending || this.isFinal);
    if (hadFocus) {
      // A second Enter must not cancel the run, so the harmless choice gets the focus.
      (isOpen ? this.dismiss : this.cancel).focus();
    }
  }

  private setStatus(text: string, isBad = false): void {
    setText(this.status, text);
    this.status.classList.toggle('pr-alarm', isBad);
  }

  /** Sends a request, for a `group` of failures or all, and shows its progress. */
  send(request: 'stop' | 'drain' | 'resume' | 'retry', group = ''): void {
    const { actions } = this.host;
    if (!actions || this.isPending) {
      return;
    }
    this.isPending = true;
    this.showChoices(false);
    setHidden(this.resume, true);
    const isCancel = request === 'stop' || request === 'drain';
    const progress = isCancel ? t('canceling') : t('resuming');
    this.setStatus(progress);
    const slow = setTimeout(
      () => {
        setText(this.status, `${progress}; ${t('the kernel answers once its cell finishes')}`);
      },
      isCancel ? SLOW_MS : 10 * SLOW_MS,
    );
    const sent = isCancel
      ? actions.cancel(request === 'drain')
      : actions.resume(request === 'retry', group);
    sent
      .then(() =>
        setText(
          this.status,
          request === 'drain' ? t('canceling once the running mini-batches finish') : progress,
        ),
      )
      .catch((error: unknown) => {
        // An ended run is not drawn again by itself, so offer the refused request again here.
        this.isPending = false;
        this.showChoices(false);
        setHidden(this.resume, !this.mayOfferResume);
        this.setStatus(errorMessage(error), true);
      })
      .finally(() => clearTimeout(slow));
  }
}

/** Returns whether a run has ended with work left. */
function canResume(snapshot: Snapshot): boolean {
  const isLeft = snapshot.left > 0 || !snapshot.plan_finished;
  return mayResume(snapshot) && (isLeft || snapshot.state !== 'Completed');
}
