import { stripAnsi } from '../model/ansi';
import { count, plural } from '../model/format';
import { errorMessage, type Host } from '../model/host';
import type { GroupRow, RunOutput, Snapshot } from '../model/wire';
import { t } from '../model/words';
import type { RunActions } from './actions';
import { announceAs, el, Rows, setHidden, setText } from './dom';
import { FailedItemList } from './failed_items';
import { FailureDetail } from './failure_detail';
import type { RetryButton } from './retry_button';
import type { Section } from './section';

const REFRESH_MS = 2000;

/** The failures, grouped by the line that raised them, and the warnings. */
export class Failures implements Section {
  readonly node = el('section', 'pr-failures');
  private readonly groups = el('div');
  private readonly more = el('div', 'pr-more');
  private readonly warnings = el('div');
  private readonly groupRows: Rows<GroupRow>;
  private readonly warningRows: Rows<string>;
  private readonly retry: RetryButton | null;
  private readonly byName = new Map<string, Group>();
  private hasFailed = false;
  private isFinal = false;
  private snapshot!: Snapshot;

  constructor(host: Host, showMiniBatch: (miniBatch: number) => void, actions: RunActions | null) {
    this.retry = actions?.retryButton('') ?? null;
    this.node.append(this.groups, this.more, ...nodesOf(this.retry), this.warnings);
    announceAs(this.node, t('Failures'));
    this.groupRows = new Rows(
      this.groups,
      (group) => group.group,
      (group) => {
        const row = new Group(host, group.group, showMiniBatch, actions);
        this.byName.set(group.group, row);
        row.node.open = this.hasFailed && this.groups.children.length === 0;
        return { node: row.node, draw: (latest) => row.draw(latest, this.snapshot) };
      },
    );
    this.warningRows = new Rows(
      this.warnings,
      (text) => text,
      (text) => ({ node: el('div', 'pr-warning', `! ${stripAnsi(text)}`), draw: () => undefined }),
    );
  }

  draw({ snapshot }: RunOutput): void {
    const becameFailed = snapshot.state === 'Failed' && !this.hasFailed;
    this.hasFailed = snapshot.state === 'Failed';
    setHidden(this.node, snapshot.groups.length + snapshot.warnings.length === 0);
    this.warningRows.draw(snapshot.warnings);
    setHidden(this.more, snapshot.groups_hidden === 0);
    const others = plural(snapshot.groups_hidden, 'other kind');
    setText(this.more, t('and {0} of failure: run.failures() shows all', others));
    const lost = snapshot.items_lost ?? snapshot.items_failed; // earlier versions have no items_lost
    this.snapshot = snapshot;
    this.retry?.draw(snapshot, lost);
    this.groupRows.draw(snapshot.groups);
    const first = this.groups.firstElementChild;
    if (becameFailed && first instanceof HTMLDetailsElement) {
      first.open = true;
    }
    if (snapshot.is_final && !this.isFinal) {
      this.fetchAgain(); // no later state may follow
    }
    this.isFinal = snapshot.is_final;
  }

  fetchAgain(): void {
    for (const group of this.byName.values()) {
      group.fetch();
    }
  }
}

class Group {
  readonly node: HTMLDetailsElement;
  private readonly glyph = el('i', 'pr-alarm', '✗');
  private readonly title = el('b');
  private readonly message = el('span', 'pr-message');
  private readonly fate = el('small');
  private readonly retry: RetryButton | null;
  private readonly detail: FailureDetail;
  private readonly items: FailedItemList;
  private attempts = 0;
  private hasAttempts = false;
  private fetchedAttempts = 0;
  private fetchedAt = 0;

  constructor(
    private readonly host: Host,
    private readonly group: string,
    showMiniBatch: (miniBatch: number) => void,
    actions: RunActions | null,
  ) {
    this.retry = actions?.retryButton(group) ?? null;
    this.items = new FailedItemList(host, group, showMiniBatch);
    this.detail = new FailureDetail(showMiniBatch, this.items.node);
    this.glyph.setAttribute('aria-hidden', 'true');
    const summary = el('summary', '', this.glyph, this.title, this.message, this.fate);
    this.node = el('details', 'pr-group', summary, ...nodesOf(this.retry), this.detail.node);
    this.node.addEventListener('toggle', () => this.fetch());
  }

  draw(group: GroupRow, snapshot: Snapshot): void {
    const lost = itemsLost(group);
    this.retry?.draw(snapshot, lost);
    this.items.draw(lost);
    setText(this.title, stripAnsi(group.group));
    setText(this.message, stripAnsi(group.message));
    setText(this.fate, fate(group));
    setText(this.glyph, isRefused(group) ? '↻' : '✗');
    this.glyph.classList.toggle('pr-alarm', !isRefused(group));
    this.detail.drawHint(group.hint ?? ''); // outputs of earlier versions have no hint
    if (group.traceback) {
      this.detail.drawTraceback(group.traceback);
    }
    this.attempts = group.attempts;
    this.hasAttempts = group.first_mini_batch >= 0;
    if (this.attempts !== this.fetchedAttempts && Date.now() - this.fetchedAt > REFRESH_MS) {
      this.fetch();
    }
  }

  /** Asks for the attempts and items, if they are shown. */
  fetch(): void {
    if (!this.node.open || !this.node.isConnected || !this.hasAttempts) {
      return;
    }
    const { attempts } = this;
    this.fetchedAttempts = attempts;
    this.fetchedAt = Date.now();
    this.host
      .failures(this.group)
      .then((failures) => this.detail.draw(failures, attempts))
      .catch((error: unknown) => this.detail.setNote(errorMessage(error)));
    void this.items.fetch();
  }
}

function nodesOf(retry: RetryButton | null): Node[] {
  return retry ? [retry.node] : [];
}

function fate(group: GroupRow): string {
  const attempts = plural(group.attempts, 'attempt');
  if (group.first_mini_batch < 0) {
    return t('{0} to start a worker', attempts);
  }
  const failed = itemsLost(group);
  const missing = group.items_missing;
  const lost = group.mini_batches_lost;
  const effects = [
    failed ? t('{0} failed', plural(failed, 'item')) : '',
    missing ? t('{0} without a result', plural(missing, 'item')) : '',
    lost ? t('{0} lost', plural(lost, 'mini-batch')) : '',
  ].filter(Boolean);
  const effect = effects.join(', ') || t('retried');
  const first = count(group.first_mini_batch);
  if (isRefused(group)) {
    const calls = plural(group.attempts, 'call');
    return t('{0} refused and tried again, first in mini-batch {1}', calls, first);
  }
  return t('{0}, {1}, first in mini-batch {2}', attempts, effect, first);
}

/** Returns whether a server refused the calls for now (429, 503), and nothing is lost. */
function isRefused(group: GroupRow): boolean {
  return group.kind === 'throttled' && !group.items_failed;
}

/** Returns how many items failed for good, and are known; outputs of earlier versions lack it. */
function itemsLost(group: GroupRow): number {
  return (group.items_failed ?? group.items_missing) - group.items_missing;
}
