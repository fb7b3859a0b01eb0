import { t } from '../model/words';
import { button, setText } from './dom';

const CONFIRMED_MS = 2000;

/** Returns a button that copies a text to the clipboard and confirms it for two seconds. */
export function copyButton(
  className: string,
  label: () => string,
  text: () => string,
): HTMLButtonElement {
  const node = button(className, label(), () => {
    write(text())
      .then(() => setText(node, t('copied')))
      .catch(() => setText(node, text())) // without a clipboard, show the text so that it can be selected
      .finally(() => setTimeout(() => setText(node, label()), CONFIRMED_MS));
  });
  return node;
}

async function write(text: string): Promise<void> {
  await navigator.clipboard.writeText(text);
}
