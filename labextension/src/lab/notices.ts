import { Notification } from '@jupyterlab/apputils';
import type { RunRow } from '../model/wire';
import { t } from '../model/words';
import { isLive, type ListFeed } from './list_feed';

const SHOWN_MS = 10_000;

/** Says when a run that was seen alive has ended: completed, failed, canceled, or its driver lost. */
export class EndNotices {
  isWanted = true;
  private readonly alive = new Set<string>();

  constructor(
    private readonly feed: ListFeed,
    private readonly open: (row: RunRow) => void,
  ) {
    feed.changed.connect(this.look, this);
  }

  private look(): void {
    for (const row of this.feed.latest?.runs ?? []) {
      if (isLive(row)) {
        this.alive.add(row.run_id);
      } else if (row.is_read && this.alive.delete(row.run_id) && this.isWanted) {
        this.say(row);
      }
    }
  }

  private say(row: RunRow): void {
    const isWell = row.state === 'Completed' && row.items_failed === 0;
    const isBad = row.state === 'Failed' || row.state === 'Interrupted';
    const kind = isWell ? 'success' : isBad ? 'error' : 'warning';
    Notification.emit(`${row.name}: ${row.headline}`, kind, {
      autoClose: isBad ? false : SHOWN_MS,
      actions: [{ label: t('Open'), callback: () => this.open(row) }],
    });
  }
}
