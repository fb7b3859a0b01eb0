import { t } from '../model/words';
import { announceAs, el } from './dom';

const TYPING_MS = 300;
const MAX_TEXT_LENGTH = 1000;
const LEVELS = ['', 'INFO', 'WARNING', 'ERROR'] as const;
const LEVEL_WORDS = [
  'all levels',
  'INFO and up',
  'WARNING, stderr and up',
  'ERROR and up',
] as const;

/** The selected worker, lowest level and search text; `''` for all. */
export interface LogFilter {
  readonly worker: string;
  readonly level: string;
  readonly text: string;
}

/** The controls that select a worker, a lowest level and a search text. */
export class LogFilters {
  readonly node: HTMLElement;
  private readonly worker = el('select', 'pr-select');
  private readonly level = el('select', 'pr-select');
  private readonly text = el('input', 'pr-input');
  private typingTimer: ReturnType<typeof setTimeout> | undefined;
  private workerNames = '';

  constructor(private readonly changed: () => void) {
    announceAs(this.worker, t('Worker'));
    announceAs(this.level, t('Level'));
    this.level.append(
      ...LEVELS.map((value, index) => option(value, t(LEVEL_WORDS[index] ?? value))),
    );
    this.text.type = 'search';
    this.text.placeholder = t('search the log');
    announceAs(this.text, t('Search the log'));
    this.text.maxLength = MAX_TEXT_LENGTH;
    this.text.title = t('* matches any characters, \\* a literal asterisk');
    this.node = el('span', 'pr-tools', this.worker, this.level, this.text);
    for (const node of [this.worker, this.level]) {
      node.addEventListener('change', () => this.change());
    }
    this.text.addEventListener('input', () => {
      clearTimeout(this.typingTimer);
      this.typingTimer = setTimeout(() => this.change(), TYPING_MS);
    });
    this.text.addEventListener('keydown', (event) => event.stopPropagation());
    this.setWorkers([]);
  }

  private change(): void {
    clearTimeout(this.typingTimer); // the pending text is part of this change
    this.changed();
  }

  get selected(): LogFilter {
    return {
      worker: this.worker.value,
      level: this.level.value,
      text: this.text.value,
    };
  }

  get isFiltering(): boolean {
    return this.level.value !== '' || this.text.value !== '';
  }

  /** Selects a worker; `''` for all of them. */
  selectWorker(worker: string): void {
    if (![...this.worker.options].some(({ value }) => value === worker)) {
      this.worker.append(option(worker, worker));
    }
    this.worker.value = worker;
  }

  /** Sets the workers to choose from; the selected one stays selected. */
  setWorkers(workers: readonly string[]): void {
    const names = workers.join();
    if (names === this.workerNames && this.worker.options.length > 0) {
      return;
    }
    this.workerNames = names;
    const selected = this.worker.value;
    const all = selected && !workers.includes(selected) ? [...workers, selected] : workers;
    this.worker.replaceChildren(
      option('', t('all workers')),
      ...all.map((name) => option(name, name)),
    );
    this.worker.value = selected;
  }

  dispose(): void {
    clearTimeout(this.typingTimer);
  }
}

function option(value: string, words: string): HTMLOptionElement {
  const node = el('option', '', words);
  node.value = value;
  return node;
}
