import { t } from '../model/words';
import { el } from './dom';

const TYPED_MS = 300;
const LONGEST_TEXT = 1000;
const LEVELS = ['', 'INFO', 'WARNING', 'ERROR'] as const;
const LEVEL_WORDS = [
  'every level',
  'INFO and up',
  'WARNING, stderr and up',
  'ERROR and up',
] as const;

/** What is wanted of the log. */
export interface Wanted {
  readonly worker: string;
  readonly level: string;
  readonly text: string;
}

/** Which worker, from which level on, and with what in it. */
export class LogTools {
  readonly node: HTMLElement;
  private readonly worker = el('select', 'pr-select');
  private readonly level = el('select', 'pr-select');
  private readonly text = el('input', 'pr-input');
  private typed: ReturnType<typeof setTimeout> | undefined;
  private offered = '';

  constructor(private readonly changed: () => void) {
    this.worker.setAttribute('aria-label', t('Worker'));
    this.level.setAttribute('aria-label', t('Level'));
    this.level.append(
      ...LEVELS.map((value, index) => option(value, t(LEVEL_WORDS[index] ?? value))),
    );
    this.text.type = 'search';
    this.text.placeholder = t('search the log');
    this.text.setAttribute('aria-label', t('Search the log'));
    this.text.maxLength = LONGEST_TEXT;
    this.text.title = t('* stands for any characters, \\* for a star');
    this.node = el('span', 'pr-tools', this.worker, this.level, this.text);
    for (const node of [this.worker, this.level]) {
      node.addEventListener('change', () => this.change());
    }
    this.text.addEventListener('input', () => {
      clearTimeout(this.typed);
      this.typed = setTimeout(() => this.change(), TYPED_MS);
    });
    this.text.addEventListener('keydown', (event) => event.stopPropagation());
    this.offer([]);
  }

  private change(): void {
    clearTimeout(this.typed); // what is typed is taken along
    this.changed();
  }

  get wanted(): Wanted {
    return {
      worker: this.worker.value,
      level: this.level.value,
      text: this.text.value,
    };
  }

  get isFiltering(): boolean {
    return this.level.value !== '' || this.text.value !== '';
  }

  /** Chooses a worker; `''` for all of them. */
  choose(worker: string): void {
    if (![...this.worker.options].some(({ value }) => value === worker)) {
      this.worker.append(option(worker, worker));
    }
    this.worker.value = worker;
  }

  /** Offers the workers that there are; the one that is chosen stays. */
  offer(workers: readonly string[]): void {
    const names = workers.join();
    if (names === this.offered && this.worker.options.length > 0) {
      return;
    }
    this.offered = names;
    const chosen = this.worker.value;
    const all = chosen && !workers.includes(chosen) ? [...workers, chosen] : workers;
    this.worker.replaceChildren(option('', t('all workers')), ...all.map((n) => option(n, n)));
    this.worker.value = chosen;
  }

  dispose(): void {
    clearTimeout(this.typed);
  }
}

function option(value: string, words: string): HTMLOptionElement {
  const node = el('option', '', words);
  node.value = value;
  return node;
}
