import { callNotes } from '../model/calls';
import { clock, count, plural } from '../model/format';
import type { Budget, Reused, RunOutput, Snapshot } from '../model/wire';
import { noun, t } from '../model/words';
import { button, el, Rows, setHidden, setOrHide, setText } from './dom';
import { JobNotice } from './job';
import type { Section } from './section';

/** The job of a service, reused results, duplicates, what holds calls back, a stalled run, slow mini-batches, and the used error budgets. */
export class Notices implements Section {
  readonly node = el('div', 'pr-notices');
  private readonly job = new JobNotice();
  private readonly reused = el('div', 'pr-notice');
  private readonly copied = el('div', 'pr-notice');
  private readonly limit = el('div', 'pr-notice');
  private readonly calls = el('div');
  private readonly quiet = el('div', 'pr-notice');
  private readonly stragglers = el('div', 'pr-notice');
  private readonly budgets = el('div');
  private readonly rows: Rows<Budget>;
  private readonly callRows: Rows<string>;
  private drawnStragglers = '';

  constructor(private readonly showMiniBatch: (miniBatch: number) => void) {
    this.node.append(
      this.job.node,
      this.reused,
      this.copied,
      this.limit,
      this.calls,
      this.quiet,
      this.stragglers,
      this.budgets,
    );
    this.callRows = new Rows(
      this.calls,
      // A sentence stays the same row while its numbers change.
      (words) => words.replace(/\d[\d,.:]*/g, ''),
      () => {
        const node = el('div', 'pr-notice');
        return { node, draw: (words) => setText(node, words) };
      },
    );
    this.rows = new Rows(
      this.budgets,
      (budget) => budget.limit,
      () => {
        const node = el('div', 'pr-budget');
        return { node, draw: (budget) => drawBudget(node, budget) };
      },
    );
  }

  draw(output: RunOutput, age: number): void {
    const { snapshot } = output;
    this.job.draw(output, age);
    const reused = snapshot.reused ?? null; // outputs of earlier versions lack these
    const most = snapshot.items_per_call ?? 0;
    setOrHide(this.reused, reused ? reusedText(reused, snapshot.items) : '');
    const copied = snapshot.duplicates_copied ?? 0;
    setOrHide(this.copied, copied > 0 ? copiedText(copied) : '');
    const words = t(
      'run() receives at most {0}: more do not fit into memory',
      plural(most, 'item'),
    );
    setOrHide(this.limit, most > 0 ? words : '');
    this.callRows.draw(callNotes(snapshot, snapshot.is_final ? 0 : age));
    const quiet = snapshot.quiet_s + age;
    const isQuiet = !snapshot.is_final && quiet > snapshot.quiet_after_s;
    setOrHide(this.quiet, isQuiet ? `! ${t('no progress for {0}', clock(quiet))}` : '');
    this.drawStragglers(snapshot, age);
    this.rows.draw(snapshot.budgets.filter((budget) => budget.used > 0));
  }

  private drawStragglers(snapshot: Snapshot, age: number): void {
    const rows = snapshot.is_final ? [] : snapshot.stragglers;
    setHidden(this.stragglers, rows.length === 0);
    const ids = rows.map((row) => row.mini_batch).join();
    if (ids !== this.drawnStragglers) {
      this.drawnStragglers = ids;
      const links = rows.map((row, index) => {
        const show = (): void => this.showMiniBatch(row.mini_batch);
        const comma = index > 0 ? ', ' : '';
        return el('span', '', comma, button('pr-link', count(row.mini_batch), show), el('span'));
      });
      this.stragglers.replaceChildren(
        `! ${t('much slower than the others: mini-batch')} `,
        ...links,
      );
    }
    rows.forEach((row, index) => {
      const words = this.stragglers.children[index]?.lastElementChild;
      if (words instanceof HTMLElement) {
        setText(words, ` ${t('on {0} for {1}', row.worker, clock(row.for_s + age))}`);
      }
    });
  }
}

/** Tells where the results of an update come from, in the words of the Python views. */
function reusedText(reused: Reused, total: number): string {
  const { run_id: run, items, changed, new: added, gone } = reused;
  const withoutRow = Math.max(0, total - items - added - changed);
  const kinds = [
    added ? t('{0} new', count(added)) : '',
    changed ? t('{0} changed', count(changed)) : '',
    withoutRow ? t('{0} without a row there', count(withoutRow)) : '',
  ].filter(Boolean);
  const taken = t(
    '{0} taken from run {1}, {2} run',
    plural(items, 'item'),
    run,
    count(added + changed + withoutRow),
  );
  const rest = gone ? `; ${t('{0} gone', count(gone))}` : '';
  return `${taken}${kinds.length > 0 ? `: ${kinds.join(', ')}` : ''}${rest}`;
}

/** Tells how many items have a copy of the rows of others, in the words of the Python views. */
function copiedText(copied: number): string {
  const duplicates = plural(copied, 'duplicate');
  return copied === 1
    ? t('{0} has the rows of items with the same content', duplicates)
    : t('{0} have the rows of items with the same content', duplicates);
}

function drawBudget(node: HTMLElement, { limit, noun: singular, used, allowed }: Budget): void {
  const things = noun(singular, allowed);
  const words =
    allowed === 0
      ? t('no {0} may fail: {1} failed', things, count(used))
      : t('{0} of {1} allowed failed {2} used', count(used), count(allowed), things);
  setText(node, `${words} (${limit})`);
  node.classList.toggle('pr-alarm', used > allowed);
}
