import { plural, timeOfDay } from '../model/format';
import type { Host } from '../model/host';
import type { RunOutput } from '../model/wire';
import { t } from '../model/words';
import { RunActions } from './actions';
import { Bar } from './bar';
import { Detail } from './detail';
import { el, setHidden, setText } from './dom';
import { Facts } from './facts';
import { Failures } from './failures';
import { GridView } from './grid';
import { Header } from './header';
import { Log } from './log';
import { Notices } from './notices';
import type { Part } from './part';
import { Timeline } from './timeline';
import { Workers } from './workers';

const TICK_MS = 1000;
const SPOKEN_EVERY_MS = 10_000;

/** The whole view of a run: the same in the widget, in the panel and in a saved output. */
export class RunView {
  readonly node: HTMLElement;
  private readonly parts: readonly Part[];
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
    const log = new Log(host);
    const detail = new Detail(host, (miniBatch) => log.show('', miniBatch));
    const showOne = (miniBatch: number): void => {
      grid.node.open = true;
      detail.show(miniBatch);
    };
    const grid = new GridView(host, showOne, detail.node);
    const actions = new RunActions(host);
    const failures = new Failures(host, showOne, actions);
    const workers = new Workers((worker) => log.show(worker, -1), showOne);
    const [header, bar, facts] = [new Header(actions.node), new Bar(), new Facts()];
    const [notices, timeline] = [new Notices(showOne), new Timeline(showOne)];
    this.parts = [
      ...[header, actions, bar, facts, notices, failures],
      ...[grid, detail, timeline, workers, log],
    ];
    this.spoken.setAttribute('role', 'status');
    this.node = el(
      'article',
      'pr-run',
      header.node,
      bar.node,
      facts.node,
      notices.node,
      this.rows,
      failures.node,
      grid.node,
      timeline.node,
      workers.node,
      log.node,
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
    this.node.setAttribute('aria-label', t('Run {0}', snapshot.name));
    setHidden(this.rows, !snapshot.output);
    setText(this.rows, t('{0} in {1}', plural(snapshot.rows, 'row'), snapshot.output));
    this.drawParts();
    this.speak(output);
  }

  /** Says something of the view itself, such as that it is not live. */
  say(text: string): void {
    const when = this.output ? t('as of {0}', timeOfDay(this.output.at)) : '';
    setText(this.note, [text, text && when].filter(Boolean).join(', '));
    setHidden(this.note, !text);
  }

  dispose(): void {
    clearInterval(this.timer);
    for (const part of this.parts) {
      part.dispose?.();
    }
    this.node.remove();
  }

  private tick(): void {
    if (this.isLive && this.output && this.node.isConnected && !document.hidden) {
      if (!this.output.snapshot.is_final) {
        this.drawParts();
      }
      this.speak(this.output);
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

  /** Tells screen readers how far it is, and of each new state; never twice in ten seconds. */
  private speak({ headline, snapshot }: RunOutput): void {
    const now = Date.now();
    const isNew = headline !== this.spokenState || !snapshot.is_final;
    if (isNew && now - this.spokenAt > SPOKEN_EVERY_MS) {
      this.spokenAt = now;
      this.spokenState = headline;
      const done = plural(snapshot.succeeded + snapshot.failed, 'mini-batch');
      setText(this.spoken, t('{0}: {1}, {2} done', snapshot.name, headline, done));
    }
  }
}
