import type { IRunningSessions } from '@jupyterlab/running';
import { type ISignal, Signal } from '@lumino/signaling';
import type { RunRow } from '../model/wire';
import { t } from '../model/words';
import type { RunsClient } from './client';
import { runsIcon } from './icon';
import type { ListFeed } from './list_feed';

/** Lists the active runs in Lab's Running panel, where they can be opened and canceled. */
export class RunningRuns implements IRunningSessions.IManager {
  readonly name = t('Parallel Runs');
  readonly shutdownLabel = t('Cancel');
  readonly shutdownAllLabel = t('Cancel All');
  readonly shutdownAllConfirmationText = t('Cancel all active parallel runs?');
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
    return this.feed.active.map((row) => ({
      label: () => `${row.name}: ${row.headline}`,
      labelTitle: () => row.run_id,
      icon: () => runsIcon,
      open: () => this.open(row),
      shutdown: () => this.cancel(row),
    }));
  }

  shutdownAll(): void {
    for (const row of this.feed.active) {
      this.cancel(row);
    }
  }

  refreshRunning(): void {
    this.feed.refresh();
  }

  private cancel(row: RunRow): void {
    void this.client.cancel(row.run_id, false).then(this.feed.refresh, this.feed.refresh);
  }
}
