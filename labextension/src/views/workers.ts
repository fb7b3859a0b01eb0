import { callProgressText, shareOfCall } from '../model/call_progress';
import { workerCalls } from '../model/calls';
import { clock, count, megabytes, plural } from '../model/format';
import { PHASES, type RunOutput, type WorkerRow } from '../model/wire';
import { t } from '../model/words';
import { announceAs, button, el, Rows, setHidden, setText } from './dom';
import type { Section } from './section';
import { Sparkline } from './sparkline';

const COLUMNS = [
  'Worker',
  'Phase',
  'Mini-batch',
  'For',
  'Progress',
  'Done',
  'Failed',
  'Restarts',
  'CPU',
  'Memory',
  'GPU',
] as const;
type Column = (typeof COLUMNS)[number];
const GPU = COLUMNS.length - 1;

/** The table of workers, grouped by node: their phase, mini-batch, results and resource usage. */
export class Workers implements Section {
  readonly node: HTMLDetailsElement;
  private readonly title = el('summary');
  private readonly more = el('div', 'pr-more');
  private readonly table: HTMLTableElement;
  private readonly rows: Rows<WorkerRow | string>;
  private age = 0;
  private showsProgress = false;

  constructor(
    showLog: (worker: string) => void,
    private readonly showMiniBatch: (miniBatch: number) => void,
  ) {
    const body = el('tbody');
    const head = el('tr', '', ...COLUMNS.map((name) => el('th', '', t(name))));
    this.table = el('table', 'pr-workers', el('thead', '', head), body);
    const scroll = el('div', 'pr-scroll', this.table);
    scroll.tabIndex = 0;
    announceAs(scroll, t('Workers'), 'group');
    this.node = el('details', 'pr-section', this.title, scroll, this.more);
    this.node.open = true;
    this.rows = new Rows<WorkerRow | string>(
      body,
      (row) => (typeof row === 'string' ? `node ${row}` : row.worker),
      (row) => (typeof row === 'string' ? nodeRow(row) : this.workerRow(row, showLog)),
    );
  }

  draw({ snapshot }: RunOutput, age: number): void {
    this.age = age;
    setHidden(this.node, snapshot.workers.length === 0);
    const all = snapshot.workers.length + snapshot.workers_hidden;
    const lost = snapshot.workers_lost
      ? `, ${t('{0} lost and replaced', count(snapshot.workers_lost))}`
      : '';
    setText(this.title, plural(all, 'worker') + lost);
    setHidden(this.more, snapshot.workers_hidden === 0);
    setText(this.more, t('and {0}', plural(snapshot.workers_hidden, 'other worker')));
    const hasGpu = snapshot.workers.some((row) => row.gpu_percent !== null);
    this.table.classList.toggle('pr-no-gpu', !hasGpu);
    // The column stays, so that the table does not jump when a call ends.
    this.showsProgress ||= snapshot.workers.some((row) => row.progress?.length);
    this.table.classList.toggle('pr-no-progress', !this.showsProgress);
    this.rows.draw(byNode(snapshot.workers));
  }

  private workerRow(initial: WorkerRow, showLog: (worker: string) => void) {
    const cells = Object.fromEntries(COLUMNS.map((name) => [name, el('td')])) as Cells;
    const name = button('pr-link', initial.worker, () => showLog(initial.worker));
    name.title = t('Show the log of {0}', initial.worker);
    cells.Worker.append(name);
    let miniBatch = -1;
    const number = button('pr-link', '', () => this.showMiniBatch(miniBatch));
    const calls = el('span');
    cells['Mini-batch'].append(number, calls);
    const usages = [new Usage(cells.CPU), new Usage(cells.Memory), new Usage(cells.GPU)] as const;
    const part = new Part(cells.Progress);
    const draw = (row: WorkerRow | string): void => {
      if (typeof row !== 'string') {
        const several = row.calls ?? []; // missing in snapshots of older versions
        setText(calls, several.length > 0 ? workerCalls(several) : '');
        miniBatch = several.length > 0 ? -1 : row.mini_batch;
        setText(number, miniBatch >= 0 ? count(miniBatch) : '');
        setHidden(number, miniBatch < 0);
        this.drawRow(cells, row);
        part.draw(row.progress ?? []); // missing in snapshots of older versions
        drawUsages(usages, row);
      }
    };
    return { node: el('tr', '', ...COLUMNS.map((column) => cells[column])), draw };
  }

  private drawRow(cells: Cells, row: WorkerRow): void {
    setText(cells.Phase, t(PHASES[row.phase] ?? row.phase));
    // Of a worker with several calls, the time of the longest one.
    setText(cells.For, clock(row.since_s + this.age));
    setText(cells.Done, count(row.succeeded));
    setText(cells.Failed, row.failed ? `✗ ${count(row.failed)}` : '0');
    setText(cells.Restarts, count(row.restarts));
    cells.Phase.classList.toggle('pr-busy', row.phase === 'running');
    cells.Failed.classList.toggle('pr-alarm', row.failed > 0);
    cells.Restarts.classList.toggle('pr-alarm', row.restarts > 0);
  }
}

type Cells = Record<Column, HTMLTableCellElement>;

/** How much of the running call is done: a bar, unless the total is unknown, and the count. */
class Part {
  private readonly fill = el('span');
  private readonly bar = el('span', 'pr-part', this.fill);
  private readonly text = el('span');

  constructor(cell: HTMLElement) {
    this.bar.setAttribute('aria-hidden', 'true');
    cell.append(this.bar, this.text);
  }

  draw(progress: readonly number[]): void {
    const share = shareOfCall(progress);
    setHidden(this.bar, share === null);
    this.fill.style.width = `${(100 * (share ?? 0)).toFixed(1)}%`;
    setText(this.text, progress.length ? callProgressText(progress) : '');
  }
}

/** A resource: its value now, and a line of recent values. */
class Usage {
  private readonly line = new Sparkline();
  private readonly value = el('span', 'pr-use');

  constructor(cell: HTMLElement) {
    cell.append(this.line.node, this.value);
  }

  draw(series: string, words: string): void {
    this.line.draw(series);
    setText(this.value, words);
  }
}

function drawUsages([cpu, memory, gpu]: readonly [Usage, Usage, Usage], row: WorkerRow): void {
  cpu.draw(row.cpu, row.cpu_percent === null ? '–' : `${row.cpu_percent} %`);
  memory.draw(row.memory, row.memory_mb === null ? '–' : megabytes(row.memory_mb));
  const used = row.gpu_memory_mb === null ? '' : `, ${megabytes(row.gpu_memory_mb)}`;
  gpu.draw(row.gpu, row.gpu_percent === null ? '' : `${row.gpu_percent} %${used}`);
}

/** Inserts a heading before the workers of each node, if there are several nodes. */
function byNode(workers: readonly WorkerRow[]): readonly (WorkerRow | string)[] {
  const nodes = [...new Set(workers.map((row) => row.node))];
  if (nodes.length < 2) {
    return workers;
  }
  return nodes.flatMap((node) => [node, ...workers.filter((row) => row.node === node)]);
}

function nodeRow(node: string) {
  const cell = el('th', 'pr-node', t('node {0}', node));
  cell.colSpan = GPU + 1;
  cell.scope = 'rowgroup';
  return { node: el('tr', '', cell), draw: () => undefined };
}
