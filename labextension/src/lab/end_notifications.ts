import { Notification } from '@jupyterlab/apputils';
import type { RunRow } from '../model/wire';
import { t } from '../model/words';
import { isActive, type ListFeed } from './list_feed';

const SHOWN_MS = 10_000;

/** Shows a notification when an active run ends: completed, failed, canceled, or its driver lost. */
export class EndNotifications {
  isEnabled = true;
  private readonly active = new Set<string>();

  constructor(
    private readonly feed: ListFeed,
    private readonly open: (row: RunRow) => void,
  ) {
    feed.changed.connect(this.check, this);
  }

  private check(): void {
    for (const row of this.feed.latest?.runs ?? []) {
      if (isActive(row)) {
        this.active.add(row.run_id);
      } else if (row.is_read && this.active.delete(row.run_id) && this.isEnabled) {
        this.notify(row);
      }
    }
  }

  private notify(row: RunRow): void {
    const isWell = row.state === 'Completed' && row.items_failed === 0;
    const isBad = row.state === 'Failed' || row.state === 'Interrupted';
    const kind = isWell ? 'success' : isBad ? 'error' : 'warning';
    Notification.emit(`${row.name}: ${row.headline}`, kind, {
      autoClose: isBad ? false : SHOWN_MS,
      actions: [{ label: t('Open'), callback: () => this.open(row) }],
    });
  }
}
