import { stripAnsi } from '../model/ansi';
import { GLYPHS, type RunOutput } from '../model/wire';
import { t } from '../model/words';
import { copyButton } from './copy';
import { el, setText } from './dom';
import type { Section } from './section';

/** The state, the name and the ID of the run, and its actions. */
export class Header implements Section {
  readonly node: HTMLElement;
  private readonly glyph = el('span', 'pr-glyph');
  private readonly name = el('strong', 'pr-name');
  private readonly state = el('span', 'pr-state');
  private readonly id = el('span', 'pr-id');

  constructor(actions?: HTMLElement) {
    this.glyph.setAttribute('aria-hidden', 'true');
    const copy = copyButton(
      'pr-link pr-quiet',
      () => t('copy ID'),
      () => this.id.textContent ?? '',
    );
    this.node = el('header', 'pr-head', this.glyph, this.name, this.state, this.id, copy);
    if (actions) {
      this.node.append(actions);
    }
  }

  draw({ run_id, headline, snapshot }: RunOutput): void {
    setText(this.glyph, GLYPHS[snapshot.state]);
    setText(this.name, stripAnsi(snapshot.name));
    setText(this.state, stripAnsi(headline));
    setText(this.id, run_id);
    this.state.title = stripAnsi(headline);
  }
}
