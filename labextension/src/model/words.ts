/** Translation of all displayed texts; a host can install a translator. */

export interface Translator {
  /** Translates a text; `{0}`, `{1}` are placeholders for values. */
  text(words: string): string;
  /** Translates the singular or plural form, depending on the value. */
  plural(singular: string, plural: string, value: number): string;
}

const ENGLISH: Translator = {
  text: (words) => words,
  plural: (singular, plural, value) => (value === 1 ? singular : plural),
};

let translator = ENGLISH;

/** Installs a translator; null restores English. Texts already drawn are not updated. */
export function setTranslator(installed: Translator | null): void {
  translator = installed ?? ENGLISH;
}

/** Translates a text and fills its placeholders `{0}`, `{1}` with values. */
export function t(words: string, ...values: readonly (string | number)[]): string {
  const text = translator.text(words);
  return values.length > 0
    ? text.replace(/\{(\d)\}/g, (_, index) => String(values[Number(index)]))
    : text;
}

/** Returns the singular or plural form of a noun, depending on the value. */
export function noun(singular: string, value: number): string {
  return translator.plural(singular, singular + (/(s|ch)$/.test(singular) ? 'es' : 's'), value);
}
