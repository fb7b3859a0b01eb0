import type { IRunningSessions } from '@jupyterlab/running';
import { type ISignal, Signal } from '@lumino/signaling';
import type { RunRow } from '../model/wire';
import { t } from '../model/words';
import type { RunsClient } from './client';
import { runsIcon } from './icon';
import type { ListFeed } from './list_feed';

/** The living runs, among the other things that run: opened and ended from there. */
export class RunningRuns implements IRunningSessions.IManager {
  readonly name = t('Parallel Runs');
  readonly shutdownLabel = t('Cancel');
  readonly shutdownAllLabel = t('Cancel All');
  readonly shutdownAllConfirmationText = t('End all parallel runs that are still going?');
  private readonly signal = new Signal<this, void>(this);

  constructor(
    private readonly feed: ListFeed,
    private readonly client: RunsClient,
    private readonly open: (row: RunRow) => void,
  ) {
    feed.changed.connect(() => this.signal.emit());
  }

  get runningChanged(): ISignal<this, void> {
    return this.signal;
  }

  running(): IRunningSessions.IRunningItem[] {
    return this.feed.living.map((row) => ({
      label: () => `${row.name}: ${row.headline}`,
      labelTitle: () => row.run_id,
      icon: () => runsIcon,
      open: () => this.open(row),
      shutdown: () => this.end(row),
    }));
  }

  shutdownAll(): void {
    for (const row of this.feed.living) {
      this.end(row);
    }
  }

  refreshRunning(): void {
    this.feed.hurry();
  }

  private end(row: RunRow): void {
    void this.client.cancel(row.run_id, false).then(this.feed.hurry, this.feed.hurry);
  }
}
