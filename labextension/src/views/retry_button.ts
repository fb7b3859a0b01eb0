import { count, plural } from '../model/format';
import { mayResume } from '../model/resume';
import type { Snapshot } from '../model/wire';
import { t } from '../model/words';
import { button, setHidden, setText } from './dom';

/** The button that runs the failed items of a group again, or with `''` those of all groups. */
export class RetryButton {
  readonly node: HTMLButtonElement;

  constructor(
    private readonly group: string,
    retry: () => void,
  ) {
    this.node = button('pr-button', '', retry);
  }

  /** Draws the button; `lost` is the number of items. */
  draw(snapshot: Snapshot, lost: number): void {
    setHidden(this.node, !mayResume(snapshot) || lost === 0);
    const these =
      lost === 1 ? t('Run this item again') : t('Run these {0} items again', count(lost));
    setText(this.node, this.group ? these : t('Run the {0} again', plural(lost, 'failed item')));
  }
}
