import { duration } from '../model/format';
import { type Moment, SPEEDS, usualSpeed } from '../model/recording';
import { t } from '../model/words';
import { announceAs, button, el, setText } from './dom';
import { VisibilityObserver } from './visibility';

const LONGEST_STEP_MS = 250;
const TICKS = 1000;

/** Plays moments: a button, a slider and a choice of speed. Nothing advances off screen. */
export class Playback {
  readonly node: HTMLElement;
  private readonly toggle = button('pr-button', '', () => this.play(!this.isPlaying));
  private readonly slider = el('input', 'pr-slider');
  private readonly time = el('span', 'pr-quiet');
  private readonly speed = el('select', 'pr-select');
  private readonly visibility: VisibilityObserver;
  private readonly length: number;
  private position: number;
  private isPlaying = false;
  private shown = -1;
  private tickedAt = 0;

  /**
   * @param show - Receives each moment that is reached, and whether it is earlier than the one before,
   *   or the last one before a pause.
   */
  constructor(
    private readonly moments: readonly Moment[],
    private readonly show: (moment: Moment, isJump: boolean) => void,
  ) {
    this.length = moments[moments.length - 1]?.position ?? 0;
    this.position = this.length;
    const usual = usualSpeed(this.length);
    this.speed.append(...SPEEDS.filter((speed) => speed <= 4 * usual).map(option));
    this.speed.value = String(usual);
    announceAs(this.speed, t('Speed'));
    this.slider.type = 'range';
    this.slider.max = String(TICKS);
    announceAs(this.slider, t('Time in the run'));
    this.slider.addEventListener('input', () => {
      this.position = (this.length * Number(this.slider.value)) / TICKS;
      this.play(false);
    });
    this.node = el('div', 'pr-playback', this.toggle, this.slider, this.time, this.speed);
    announceAs(this.node, t('Recording'), 'group');
    this.visibility = new VisibilityObserver(this.node, () => undefined);
    this.moveTo(this.length);
  }

  /** Starts or pauses; at the end, starts over. */
  play(isPlaying: boolean): void {
    this.isPlaying = isPlaying;
    if (isPlaying) {
      this.tickedAt = 0;
      if (this.position >= this.length) {
        this.moveTo(0, true);
      }
      requestAnimationFrame(this.tick);
    } else {
      this.moveTo(this.position, true);
    }
    this.drawButton();
  }

  dispose(): void {
    this.isPlaying = false;
    this.visibility.dispose();
  }

  private readonly tick = (now: number): void => {
    if (!this.isPlaying) {
      return;
    }
    const passed = this.tickedAt ? Math.min(now - this.tickedAt, LONGEST_STEP_MS) : 0;
    this.tickedAt = now;
    if (this.visibility.isVisible) {
      this.moveTo(this.position + passed * Number(this.speed.value));
    }
    if (this.position >= this.length) {
      this.play(false);
    } else {
      requestAnimationFrame(this.tick);
    }
  };

  private moveTo(position: number, isJump = false): void {
    this.position = Math.min(position, this.length);
    const next = this.moments.findIndex((moment) => moment.position > this.position);
    const index = Math.max(0, (next < 0 ? this.moments.length : next) - 1);
    const moment = this.moments[index];
    if (moment && (index !== this.shown || isJump)) {
      this.shown = index;
      this.show(moment, isJump);
    }
    const [at, end] = [this.position, this.length].map((ms) => duration(ms / 1000));
    this.slider.value = String(Math.round((TICKS * this.position) / this.length));
    this.slider.setAttribute('aria-valuetext', t('{0} of {1}', at ?? '', end ?? ''));
    setText(this.time, `${at} / ${end}`);
    this.drawButton();
  }

  private drawButton(): void {
    const again = this.position >= this.length ? t('Play') : t('Continue');
    setText(this.toggle, this.isPlaying ? t('Pause') : again);
  }
}

function option(speed: number): HTMLOptionElement {
  const node = el('option', '', `${speed}×`);
  node.value = String(speed);
  return node;
}
