import { Widget } from '@lumino/widgets';
import { count, percent } from '../model/format';
import { GLYPHS } from '../model/wire';
import { t } from '../model/words';
import { button, setHidden, setText } from '../views/dom';
import type { ListFeed } from './list_feed';

/** Shows the progress of the newest active run in the status bar; a click opens the run. */
export class StatusItem extends Widget {
  private readonly button: HTMLButtonElement;
  private isEnabled = true;

  constructor(
    private readonly feed: ListFeed,
    open: () => void,
  ) {
    super();
    this.addClass('pr-status');
    this.button = button('pr-status-button', '', open);
    this.node.append(this.button);
    feed.changed.connect(this.draw, this);
    this.draw();
  }

  /** Shows or hides the item, according to the user settings. */
  setEnabled(isEnabled: boolean): void {
    this.isEnabled = isEnabled;
    this.draw();
  }

  private draw(): void {
    const [row, ...others] = this.feed.active;
    setHidden(this.node, !row || !this.isEnabled);
    if (!row) {
      return;
    }
    const done = row.items - row.items_left;
    const share = row.plan_finished ? `${percent(done, row.items)} %` : t('listing');
    const failed = row.items_failed > 0 ? ` ✗ ${count(row.items_failed)}` : '';
    const more = others.length > 0 ? ` +${count(others.length)}` : '';
    setText(this.button, `${GLYPHS[row.state]} ${row.name} ${share}${failed}${more}`);
    this.button.title = t('Parallel run {0}: {1}', row.name, row.headline);
  }
}
