import { plural, timeOfDay } from '../model/format';
import type { Host } from '../model/host';
import type { RunOutput } from '../model/wire';
import { Bar } from './bar';
import { Cancel } from './cancel';
import { el, setHidden, setText } from './dom';
import { Facts } from './facts';
import { Failures } from './failures';
import { Header } from './header';
import { Log } from './log';
import type { Part } from './part';
import { Workers } from './workers';

const TICK_MS = 1000;
const SPOKEN_EVERY_MS = 15_000;

/** The whole view of a run: the same in the widget, in the panel and in a saved output. */
export class RunView {
  readonly node: HTMLElement;
  private readonly parts: readonly Part[];
  private readonly log: Log;
  private readonly rows = el('div', 'pr-output');
  private readonly note = el('div', 'pr-note');
  private readonly spoken = el('div', 'pr-spoken');
  private readonly timer: ReturnType<typeof setInterval>;
  private output: RunOutput | null = null;
  private isLive = false;
  private drawnAt = 0;
  private spokenAt = 0;
  private spokenState = '';

  constructor(host: Host) {
    this.log = new Log(host);
    const cancel = new Cancel(host);
    const header = new Header(cancel.node);
    const bar = new Bar();
    const facts = new Facts();
    const failures = new Failures(host, (miniBatch) => this.log.show('', miniBatch));
    const workers = new Workers((worker) => this.log.show(worker, -1));
    this.parts = [header, cancel, bar, facts, failures, workers, this.log];
    this.spoken.setAttribute('role', 'status');
    this.node = el(
      'article',
      'pr-run',
      header.node,
      bar.node,
      facts.node,
      this.rows,
      failures.node,
      workers.node,
      this.log.node,
      this.note,
      this.spoken,
    );
    this.timer = setInterval(() => this.tick(), TICK_MS);
  }

  /** The last thing drawn. */
  get shown(): RunOutput | null {
    return this.output;
  }

  /**
   * Draws where the run stands.
   *
   * @param isLive - Whether this is now, or as it was saved.
   */
  draw(output: RunOutput, isLive: boolean): void {
    this.output = output;
    this.isLive = isLive;
    this.drawnAt = Date.now();
    const { snapshot } = output;
    this.node.dataset.state = snapshot.state;
    this.node.setAttribute('aria-label', `Run ${snapshot.name}`);
    setHidden(this.rows, !snapshot.output);
    setText(this.rows, `${plural(snapshot.rows, 'row')} in ${snapshot.output}`);
    this.drawParts();
    this.speak(output);
  }

  /** Says something of the view itself, such as that it is not live. */
  say(text: string): void {
    const when = this.output ? `as of ${timeOfDay(this.output.at)}` : '';
    setText(this.note, [text, text && when].filter(Boolean).join(', '));
    setHidden(this.note, !text);
  }

  dispose(): void {
    clearInterval(this.timer);
    this.log.dispose();
    this.node.remove();
  }

  private tick(): void {
    if (this.isLive && this.output && !this.output.snapshot.is_final && this.node.isConnected) {
      this.drawParts();
    }
  }

  private drawParts(): void {
    if (this.output) {
      const age = this.isLive ? (Date.now() - this.drawnAt) / 1000 : 0;
      for (const part of this.parts) {
        part.draw(this.output, age);
      }
    }
  }

  /** Tells screen readers of each new state, and in between now and then how far it is. */
  private speak({ headline, snapshot }: RunOutput): void {
    const now = Date.now();
    const isNew = headline !== this.spokenState;
    if (isNew || (!snapshot.is_final && now - this.spokenAt > SPOKEN_EVERY_MS)) {
      this.spokenAt = now;
      this.spokenState = headline;
      const done = plural(snapshot.succeeded + snapshot.failed, 'mini-batch');
      setText(this.spoken, `${snapshot.name}: ${headline}, ${done} done`);
    }
  }
}
