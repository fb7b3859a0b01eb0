import { clock } from '../model/format';
import type { Job, RunOutput } from '../model/wire';
import { t } from '../model/words';
import { el, setHidden, setText } from './dom';
import type { Section } from './section';

/** The job of a service that runs the run, such as Azure ML: its state, and a link to its page. */
export class JobNotice implements Section {
  readonly node = el('div', 'pr-notice pr-job');
  private readonly words = el('span');
  private readonly page = el('a', 'pr-link', t('Open in Azure ML studio'));

  constructor() {
    this.page.target = '_blank';
    this.page.rel = 'noopener noreferrer';
    this.node.append(this.words, ' ', this.page);
  }

  draw({ snapshot }: RunOutput, age: number): void {
    const job = snapshot.job ?? null; // outputs of earlier versions lack it
    setHidden(this.node, !job);
    if (!job) return;
    setText(this.words, jobText(job, snapshot.is_final ? null : age));
    // The address comes from the journal, which a service has written to.
    const isPage = /^https:/.test(job.url);
    setHidden(this.page, !isPage);
    if (isPage && this.page.getAttribute('href') !== job.url) this.page.href = job.url;
  }
}

/** The states in which a job stays: how long says nothing. */
const ENDED = new Set(['Completed', 'Failed', 'Canceled']);

/** Tells the state of a job, in the words of the Python views; `age` is null for a run that has ended. */
export function jobText(job: Job, age: number | null): string {
  const what = job.name ? t('Azure ML job {0}', job.name) : t('Azure ML');
  const words =
    age === null || ENDED.has(job.status)
      ? job.status
      : t('{0} for {1}', job.status, clock(job.since_s + age));
  return job.detail ? `${what}: ${words} (${job.detail})` : `${what}: ${words}`;
}
