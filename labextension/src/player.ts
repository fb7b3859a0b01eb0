import { errorMessage } from './model/host';
import { RecordedHost } from './model/recorded_host';
import { momentsOf } from './model/recording';
import type { Recording } from './model/wire';
import { t } from './model/words';
import { el } from './views/dom';
import { Playback } from './views/playback';
import { RunView } from './views/run';

declare global {
  /** The style sheet of the view; the file of the player sets it before this code. */
  var parallelrunStyle: string;
}

/** A page chooses light or dark colors by the `color-scheme` of the element. */
const OWN_STYLE = ':host{display:block;color-scheme:light dark}';

/**
 * Plays a recorded run. The recording is the JSON in a script element inside this one, or the file that the
 * attribute `src` names. With the attribute `autoplay` it starts by itself, unless the reader prefers
 * reduced motion.
 */
class Player extends HTMLElement {
  private view: RunView | null = null;
  private playback: Playback | null = null;

  connectedCallback(): void {
    const root = this.shadowRoot ?? this.attachShadow({ mode: 'open' });
    root.replaceChildren(el('style', '', globalThis.parallelrunStyle + OWN_STYLE));
    this.read()
      .then((recording) => this.open(root, recording))
      .catch((error: unknown) => {
        root.append(el('p', '', t('The recording cannot be shown: {0}', errorMessage(error))));
      });
  }

  disconnectedCallback(): void {
    this.playback?.dispose();
    this.view?.dispose();
  }

  private async read(): Promise<Recording> {
    const src = this.getAttribute('src');
    if (src === null) {
      await parsed();
      return JSON.parse(this.querySelector('script')?.textContent ?? '');
    }
    const response = await fetch(src);
    if (!response.ok) {
      throw new Error(`${src}: ${response.status} ${response.statusText}`);
    }
    return response.json();
  }

  private async open(root: ShadowRoot, recording: Recording): Promise<void> {
    const host = new RecordedHost(recording);
    const view = new RunView(host);
    this.view = view;
    view.draw(recording.output, false);
    view.setNote(recording.output.snapshot.is_final ? '' : t('the run may have continued since'));
    const moments = await momentsOf(recording);
    if (moments.length > 1 && this.isConnected) {
      const playback = new Playback(moments, ({ output }, isJump) => {
        host.moveTo(output);
        view.draw(output, false);
        if (isJump) {
          view.fetchAgain();
        }
      });
      this.playback = playback;
      view.node.prepend(playback.node);
      if (
        this.hasAttribute('autoplay') &&
        !matchMedia('(prefers-reduced-motion: reduce)').matches
      ) {
        playback.play(true);
      }
    }
    root.append(view.node);
  }
}

/** Resolves once the page is parsed: until then, the script inside the element may be missing. */
function parsed(): Promise<unknown> | null {
  return document.readyState === 'loading'
    ? new Promise((resolve) => document.addEventListener('DOMContentLoaded', resolve))
    : null;
}

customElements.define('parallelrun-player', Player);
