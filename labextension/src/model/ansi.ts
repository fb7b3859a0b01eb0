/** A piece of text and the classes that its colours ask for. */
export interface Piece {
  readonly text: string;
  readonly classes: string;
}

// biome-ignore lint/suspicious/noControlCharactersInRegex: escape codes are what this is about
const ESCAPE = /(?:\x1b\[|\x9b)([0-9;:?]*)([@-~])|\x1b(?:\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-Z\\-_])/g;
// biome-ignore lint/suspicious/noControlCharactersInRegex: what a terminal would obey is left out
const CONTROL = /[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]/g;

/** Splits a line of a terminal into pieces: colours become classes, every other code is left out. */
export function pieces(line: string): Piece[] {
  const found: Piece[] = [];
  const style = new Style();
  let end = 0;
  for (const match of line.matchAll(ESCAPE)) {
    push(found, line.slice(end, match.index), style.classes());
    end = match.index + match[0].length;
    if (match[2] === 'm') {
      style.take((match[1] || '0').split(/[;:]/).map(Number));
    }
  }
  push(found, line.slice(end), style.classes());
  return found;
}

/** A text of the user's without what a terminal would obey: for everything that is no log. */
export function plain(text: string): string {
  return pieces(text)
    .map((piece) => piece.text)
    .join('');
}

function push(found: Piece[], text: string, classes: string): void {
  const plain = text.replace(CONTROL, '');
  if (plain) {
    found.push({ text: plain, classes });
  }
}

class Style {
  private bold = false;
  private color = -1;

  classes(): string {
    const color = this.color >= 0 ? `pr-ansi-${this.color}` : '';
    return [color, this.bold ? 'pr-ansi-bold' : ''].filter(Boolean).join(' ');
  }

  take(codes: number[]): void {
    for (let code = codes.shift(); code !== undefined; code = codes.shift()) {
      if (code === 38 || code === 48) {
        this.extended(code === 38, codes);
      } else {
        this.one(code);
      }
    }
  }

  /** One of 256 colours, or of sixteen million: the first sixteen are shown, others are not. */
  private extended(isText: boolean, codes: number[]): void {
    const [kind, index = -1] = codes.splice(0, codes[0] === 5 ? 2 : 4);
    if (isText) {
      this.color = kind === 5 && index < 16 ? index % 8 : -1;
    }
  }

  private one(code: number): void {
    if (code === 0) {
      this.bold = false;
      this.color = -1;
    } else if (code === 1 || code === 22) {
      this.bold = code === 1;
    } else if (code === 39) {
      this.color = -1;
    } else if ((code >= 30 && code <= 37) || (code >= 90 && code <= 97)) {
      this.color = code % 10;
    }
  }
}
