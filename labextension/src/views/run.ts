import { plural, timeOfDay } from '../model/format';
import type { Host } from '../model/host';
import type { RunOutput } from '../model/wire';
import { t } from '../model/words';
import type { RunActions } from './actions';
import { Bar, doneOf } from './bar';
import { CallFacts } from './calls';
import { announceAs, el, setHidden, setOrHide, setText } from './dom';
import { Facts } from './facts';
import { Failures } from './failures';
import { GridView } from './grid';
import { Header } from './header';
import { Log } from './log';
import { MiniBatchView } from './mini_batch';
import { Notices } from './notices';
import { Results } from './results';
import type { Section } from './section';
import { Timeline } from './timeline';
import { Workers } from './workers';

const TICK_MS = 1000;
const ANNOUNCE_MS = 10_000;

/** The whole view of a run: the same in widgets, tabs, saved outputs and reports. */
export class RunView {
  readonly node: HTMLElement;
  private readonly sections: readonly Section[];
  private readonly rows = el('div', 'pr-output');
  private readonly note = el('div', 'pr-note');
  private readonly announcement = el('div', 'pr-spoken');
  private readonly timer: ReturnType<typeof setInterval>;
  private output: RunOutput | null = null;
  private isLive = false;
  private drawnAt = 0;
  private announcedAt = 0;
  private announcedHeadline = '';

  /**
   * @param actions - The buttons that act on the run; null in a view of the past.
   */
  constructor(host: Host, actions: RunActions | null = null) {
    const log = new Log(host);
    const miniBatchView = new MiniBatchView(host, (miniBatch) => log.show('', miniBatch));
    const showMiniBatch = (miniBatch: number): void => {
      grid.node.open = true;
      miniBatchView.show(miniBatch);
    };
    const grid = new GridView(host, showMiniBatch, miniBatchView.node);
    const failures = new Failures(host, showMiniBatch, actions);
    const results = new Results(host, showMiniBatch);
    const workers = new Workers((worker) => log.show(worker, -1), showMiniBatch);
    const [header, bar, facts] = [new Header(actions?.node), new Bar(), new Facts()];
    const calls = new CallFacts();
    const [notices, timeline] = [new Notices(showMiniBatch), new Timeline(showMiniBatch)];
    this.sections = [
      ...[header, ...(actions ? [actions] : []), bar, facts, calls, notices, failures, results],
      ...[grid, miniBatchView, timeline, workers, log],
    ];
    this.announcement.setAttribute('role', 'status');
    this.node = el(
      'article',
      'pr-run',
      header.node,
      bar.node,
      facts.node,
      calls.node,
      notices.node,
      this.rows,
      failures.node,
      results.node,
      grid.node,
      timeline.node,
      workers.node,
      log.node,
      this.note,
      this.announcement,
    );
    this.timer = setInterval(() => this.tick(), TICK_MS);
  }

  /** The state that was drawn last; null before the first. */
  get shown(): RunOutput | null {
    return this.output;
  }

  /**
   * Draws the state of a run.
   *
   * @param isLive - Whether the state is current, so that running times advance.
   */
  draw(output: RunOutput, isLive: boolean): void {
    this.output = output;
    this.isLive = isLive;
    this.drawnAt = Date.now();
    const { snapshot } = output;
    this.node.dataset.state = snapshot.state;
    announceAs(this.node, t('Run {0}', snapshot.name));
    setHidden(this.rows, !snapshot.output);
    setText(this.rows, t('{0} in {1}', plural(snapshot.rows, 'row'), snapshot.output));
    this.drawSections();
    this.announce(output);
  }

  /** Sets the note about the view itself, such as that it is not live; '' hides it. */
  setNote(text: string): void {
    const time = this.output ? t('as of {0}', timeOfDay(this.output.at)) : '';
    setOrHide(this.note, [text, text && time].filter(Boolean).join(', '));
  }

  /** Asks the host again for all that is shown: the run is at another moment. */
  fetchAgain(): void {
    for (const section of this.sections) {
      section.fetchAgain?.();
    }
  }

  dispose(): void {
    clearInterval(this.timer);
    for (const section of this.sections) {
      section.dispose?.();
    }
    this.node.remove();
  }

  private tick(): void {
    if (this.isLive && this.output && this.node.isConnected && !document.hidden) {
      if (!this.output.snapshot.is_final) {
        this.drawSections();
      }
      this.announce(this.output);
    }
  }

  private drawSections(): void {
    if (this.output) {
      const age = this.isLive ? (Date.now() - this.drawnAt) / 1000 : 0;
      for (const section of this.sections) {
        section.draw(this.output, age);
      }
    }
  }

  /** Announces the progress and each new state to screen readers, at most every ten seconds. */
  private announce({ headline, snapshot }: RunOutput): void {
    const now = Date.now();
    const isNew = headline !== this.announcedHeadline || !snapshot.is_final;
    if (isNew && now - this.announcedAt > ANNOUNCE_MS) {
      this.announcedAt = now;
      this.announcedHeadline = headline;
      const done = plural(doneOf(snapshot), 'mini-batch');
      setText(this.announcement, t('{0}: {1}, {2} done', snapshot.name, headline, done));
    }
  }
}
