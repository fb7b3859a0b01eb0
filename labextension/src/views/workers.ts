import { clock, count, plural } from '../model/format';
import { PHASES, type RunOutput, type WorkerRow } from '../model/wire';
import { button, el, Rows, setHidden, setText } from './dom';
import type { Part } from './part';

const COLUMNS = ['Worker', 'Doing', 'Mini-batch', 'For', 'Done', 'Failed'] as const;

/** A row for each worker: what it does, on what, and since when. */
export class Workers implements Part {
  readonly node: HTMLDetailsElement;
  private readonly title = el('summary');
  private readonly more = el('div', 'pr-more');
  private readonly rows: Rows<WorkerRow>;
  private age = 0;

  constructor(showLog: (worker: string) => void) {
    const body = el('tbody');
    const head = el('tr', '', ...COLUMNS.map((name) => el('th', '', name)));
    const table = el('table', 'pr-workers', el('thead', '', head), body);
    const scroll = el('div', 'pr-scroll', table);
    scroll.tabIndex = 0;
    this.node = el('details', 'pr-section', this.title, scroll, this.more);
    this.node.open = true;
    this.rows = new Rows(
      body,
      (row) => row.worker,
      ({ worker }) => {
        const cells = COLUMNS.map(() => el('td'));
        const name = button('pr-link', worker, () => showLog(worker));
        name.title = `Show the log of ${worker}`;
        cells[0]?.append(name);
        return { node: el('tr', '', ...cells), draw: (row) => this.drawRow(cells, row) };
      },
    );
  }

  draw({ snapshot }: RunOutput, age: number): void {
    this.age = age;
    setHidden(this.node, snapshot.workers.length === 0);
    const all = snapshot.workers.length + snapshot.workers_hidden;
    const lost = snapshot.workers_lost ? `, ${count(snapshot.workers_lost)} lost and replaced` : '';
    setText(this.title, `${plural(all, 'worker')}${lost}`);
    setHidden(this.more, snapshot.workers_hidden === 0);
    setText(this.more, `and ${plural(snapshot.workers_hidden, 'other worker')}`);
    this.rows.draw(snapshot.workers);
  }

  private drawRow(cells: HTMLElement[], row: WorkerRow): void {
    const texts = [
      null,
      PHASES[row.phase] ?? row.phase,
      row.mini_batch >= 0 ? count(row.mini_batch) : '',
      clock(row.since_s + this.age),
      count(row.succeeded),
      row.failed ? `✗ ${count(row.failed)}` : '0',
    ];
    texts.forEach((text, index) => {
      const cell = cells[index];
      if (text !== null && cell) {
        setText(cell, text);
      }
    });
    cells[1]?.classList.toggle('pr-busy', row.phase === 'running');
    cells[5]?.classList.toggle('pr-alarm', row.failed > 0);
  }
}
