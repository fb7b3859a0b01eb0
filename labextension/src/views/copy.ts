import { t } from '../model/words';
import { button, setText } from './dom';

const SAID_MS = 2000;

/** A button that puts a text on the clipboard, and says so for a moment. */
export function copyButton(
  className: string,
  label: () => string,
  text: () => string,
): HTMLButtonElement {
  const node = button(className, label(), () => {
    write(text())
      .then(() => setText(node, t('copied')))
      .catch(() => setText(node, text())) // no clipboard here: then it can be marked by hand
      .finally(() => setTimeout(() => setText(node, label()), SAID_MS));
  });
  return node;
}

async function write(text: string): Promise<void> {
  await navigator.clipboard.writeText(text);
}
