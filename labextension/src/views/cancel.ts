import { type Host, sentence } from '../model/host';
import type { RunOutput } from '../model/wire';
import { button, el, setHidden, setText } from './dom';
import type { Part } from './part';

const SLOW_MS = 1500;

/** The Cancel button: asks once more, then says what became of it. */
export class Cancel implements Part {
  readonly node = el('span', 'pr-cancel');
  private readonly first = button('pr-button', 'Cancel', () => this.ask(true));
  private readonly goOn = button('pr-button', 'Go on', () => this.ask(false));
  private readonly choices = el('span', 'pr-choices');
  private readonly said = el('span', 'pr-said');
  private wasAsked = false;

  constructor(private readonly host: Host) {
    this.choices.append(
      button('pr-button pr-danger', 'Stop now', () => this.send(false)),
      button('pr-button', 'Finish running ones', () => this.send(true)),
      this.goOn,
    );
    this.choices.hidden = true;
    this.said.setAttribute('role', 'status');
    this.node.append(this.first, this.choices, this.said);
  }

  draw({ snapshot }: RunOutput): void {
    if (snapshot.is_final) {
      this.ask(false);
      setText(this.said, '');
    }
    setHidden(this.first, snapshot.is_final || this.wasAsked || !this.choices.hidden);
  }

  private ask(isOpen: boolean): void {
    const hadFocus = this.node.contains(document.activeElement);
    setHidden(this.choices, !isOpen);
    setHidden(this.first, isOpen || this.wasAsked);
    if (hadFocus) {
      // The way out is the one that a second Enter takes.
      (isOpen ? this.goOn : this.first).focus();
    }
  }

  private send(drain: boolean): void {
    this.wasAsked = true;
    this.ask(false);
    setText(this.said, 'canceling');
    const slow = setTimeout(() => {
      setText(this.said, 'canceling; the kernel answers when its cell ends');
    }, SLOW_MS);
    this.host
      .cancel(drain)
      .then(() => setText(this.said, drain ? 'canceling after those running' : 'canceling'))
      .catch((error: unknown) => {
        this.wasAsked = false;
        setText(this.said, sentence(error));
      })
      .finally(() => clearTimeout(slow));
  }
}
