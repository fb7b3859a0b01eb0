import { stripAnsi } from '../model/ansi';
import { plural } from '../model/format';
import type { Preview } from '../model/wire';
import { t } from '../model/words';
import { el, setHidden, setText } from './dom';

const PICTURE = /^data:image\/(png|jpeg|gif|webp|bmp);base64,[A-Za-z0-9+/=]+$/;

/** Why an item is not shown; `{0}` is the error. */
const REASONS: Readonly<Record<string, string>> = {
  partial: 'shown in part: {0}',
  unreadable: 'cannot be shown: {0}',
  crashed: 'cannot be shown: the process that read it ended',
  stopped: 'not shown: reading it took too long',
  missing: 'the file no longer exists',
  empty: 'the file is empty',
  large: 'too large to be shown',
  remote: 'in a store; not shown here',
};

/** An item in little: a picture, the values of a row, or the first lines of a text. */
export class PreviewView {
  /** The place of the picture, beside the other content. */
  readonly picture = el('div', 'pr-thumb');
  readonly content = el('div');
  private readonly reason = el('small');

  constructor(private readonly name: string) {
    this.picture.hidden = true;
    this.reason.hidden = true;
    this.content.append(this.reason);
  }

  draw(preview: Preview): void {
    const reason = t(REASONS[preview.outcome] ?? '', stripAnsi(preview.detail));
    setText(this.reason, reason);
    setHidden(this.reason, !reason);
    if (PICTURE.test(preview.picture)) {
      const image = el('img');
      image.src = preview.picture;
      image.alt = t('Picture {0}', this.name);
      this.picture.replaceChildren(image);
      setHidden(this.picture, false);
    }
    if (preview.columns.length > 0) {
      this.content.append(values(preview));
    }
    if (preview.text) {
      this.content.append(el('pre', '', stripAnsi(preview.text)));
    }
  }
}

/** Returns the values of a row, each below the name of its column. */
function values({ columns, columns_hidden: hidden }: Preview): HTMLElement {
  const cells = columns.map(([name = '', value = '']) =>
    el('div', '', el('dt', '', stripAnsi(name)), el('dd', '', stripAnsi(value))),
  );
  const more = hidden > 0 ? [el('small', '', t('and {0}', plural(hidden, 'other column')))] : [];
  return el('div', '', el('dl', 'pr-values', ...cells), ...more);
}
