/** Every text that people read goes through here, so that a host can put it in their language. */

export interface Translator {
  /** Returns a text in the reader's language; `{0}` and so on stand for values. */
  text(words: string): string;
  /** Returns the one of two texts that goes with a number, in the reader's language. */
  plural(one: string, many: string, value: number): string;
}

const ENGLISH: Translator = {
  text: (words) => words,
  plural: (one, many, value) => (value === 1 ? one : many),
};

let translator = ENGLISH;

/** Lets a host translate; null for English again. Texts drawn before stay as they are. */
export function setTranslator(chosen: Translator | null): void {
  translator = chosen ?? ENGLISH;
}

/** Returns a text in the reader's language, with values in the places of `{0}`, `{1}`. */
export function t(words: string, ...values: readonly (string | number)[]): string {
  const said = translator.text(words);
  return values.length > 0
    ? said.replace(/\{(\d)\}/g, (_, place) => String(values[Number(place)]))
    : said;
}

/** Returns the form of a noun that goes with a number. */
export function noun(one: string, value: number): string {
  return translator.plural(one, one + (/(s|ch)$/.test(one) ? 'es' : 's'), value);
}
