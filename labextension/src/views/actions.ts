import { type Host, sentence } from '../model/host';
import type { RunOutput, Snapshot } from '../model/wire';
import { t } from '../model/words';
import { button, el, setHidden, setText } from './dom';
import type { Part } from './part';

const SLOW_MS = 1500;

/** What can be done to the run: cancel it, which is asked once more, or go on with it. */
export class RunActions implements Part {
  readonly node = el('span', 'pr-actions');
  private readonly first = button('pr-button', t('Cancel'), () => this.ask(true));
  private readonly goOn = button('pr-button', t('Go on'), () => this.ask(false));
  private readonly choices = el('span', 'pr-choices');
  private readonly resume = button('pr-button', t('Resume'), () => this.send('resume'));
  private readonly result = el('a', 'pr-button', t('Open output'));
  private readonly said = el('span', 'pr-said');
  private wasAsked = false;
  private canGoOn = false;
  private isFinal = false;

  constructor(private readonly host: Host) {
    this.choices.append(
      button('pr-button pr-danger', t('Stop now'), () => this.send('stop')),
      button('pr-button', t('Finish running ones'), () => this.send('drain')),
      this.goOn,
    );
    this.choices.hidden = true;
    this.said.setAttribute('role', 'status');
    this.result.target = '_blank';
    this.result.rel = 'noopener';
    this.node.append(this.first, this.choices, this.resume, this.result, this.said);
  }

  draw({ snapshot }: RunOutput): void {
    if (snapshot.is_final !== this.isFinal) {
      this.isFinal = snapshot.is_final;
      this.wasAsked = false;
      this.ask(false);
      this.tell('');
    }
    const can = this.host.actions !== null;
    setHidden(this.first, !can || this.isFinal || this.wasAsked || !this.choices.hidden);
    this.canGoOn = can && canResume(snapshot);
    setHidden(this.resume, this.wasAsked || !this.canGoOn);
    const file = snapshot.output ? this.host.resultFile() : null;
    setHidden(this.result, file === null);
    if (file !== null) {
      this.result.href = file;
    }
  }

  private ask(isOpen: boolean): void {
    const hadFocus = this.node.contains(document.activeElement);
    setHidden(this.choices, !isOpen);
    setHidden(this.first, isOpen || this.wasAsked || this.isFinal);
    if (hadFocus) {
      // The way out is the one that a second Enter takes.
      (isOpen ? this.goOn : this.first).focus();
    }
  }

  private tell(text: string, isBad = false): void {
    setText(this.said, text);
    this.said.classList.toggle('pr-alarm', isBad);
  }

  /** Sends what was chosen, for a `group` of failures or all, and says what becomes of it. */
  send(what: 'stop' | 'drain' | 'resume' | 'retry', group = ''): void {
    const { actions } = this.host;
    if (!actions || this.wasAsked) {
      return;
    }
    this.wasAsked = true;
    this.ask(false);
    setHidden(this.resume, true);
    const isEnd = what === 'stop' || what === 'drain';
    const doing = isEnd ? t('canceling') : t('starting again');
    this.tell(doing);
    const slow = setTimeout(
      () => {
        setText(this.said, `${doing}; ${t('the kernel answers when its cell ends')}`);
      },
      isEnd ? SLOW_MS : 10 * SLOW_MS,
    );
    const sent = isEnd ? actions.cancel(what === 'drain') : actions.resume(what === 'retry', group);
    sent
      .then(() => setText(this.said, what === 'drain' ? t('canceling after those running') : doing))
      .catch((error: unknown) => {
        // An ended run is not drawn again by itself: what was refused may be asked for again.
        this.wasAsked = false;
        this.ask(false);
        setHidden(this.resume, !this.canGoOn);
        this.tell(sentence(error), true);
      })
      .finally(() => clearTimeout(slow));
  }
}

/** Whether a run has ended and a resume would not be refused; outputs of earlier versions do not say. */
export function mayResume(snapshot: Snapshot): boolean {
  return snapshot.is_final && (snapshot.can_resume ?? true);
}

/** Whether a run has ended with something left to do. */
function canResume(snapshot: Snapshot): boolean {
  const isLeft = snapshot.left > 0 || !snapshot.plan_finished;
  return mayResume(snapshot) && (isLeft || snapshot.state !== 'Completed');
}
