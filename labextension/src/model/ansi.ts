/** Text and the CSS classes for its terminal colors. */
export interface StyledText {
  readonly text: string;
  readonly classes: string;
}

// biome-ignore lint/suspicious/noControlCharactersInRegex: this module parses escape codes
const ESCAPE = /(?:\x1b\[|\x9b)([0-9;:?]*)([@-~])|\x1b(?:\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-Z\\-_])/g;
// biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are removed
const CONTROL = /[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]/g;

/** Parses a terminal line: colors become CSS classes, all other escape codes are removed. */
export function parseAnsi(line: string): StyledText[] {
  const pieces: StyledText[] = [];
  const style = new Style();
  let end = 0;
  for (const match of line.matchAll(ESCAPE)) {
    push(pieces, line.slice(end, match.index), style.classes());
    end = match.index + match[0].length;
    if (match[2] === 'm') {
      style.apply((match[1] || '0').split(/[;:]/).map(Number));
    }
  }
  push(pieces, line.slice(end), style.classes());
  return pieces;
}

/** Removes all escape codes and control characters, for user text outside the log. */
export function stripAnsi(text: string): string {
  return parseAnsi(text)
    .map((piece) => piece.text)
    .join('');
}

function push(pieces: StyledText[], text: string, classes: string): void {
  const plain = text.replace(CONTROL, '');
  if (plain) {
    pieces.push({ text: plain, classes });
  }
}

class Style {
  private bold = false;
  private color = -1;

  classes(): string {
    const color = this.color >= 0 ? `pr-ansi-${this.color}` : '';
    return [color, this.bold ? 'pr-ansi-bold' : ''].filter(Boolean).join(' ');
  }

  apply(codes: number[]): void {
    for (let code = codes.shift(); code !== undefined; code = codes.shift()) {
      if (code === 38 || code === 48) {
        this.applyExtended(code === 38, codes);
      } else {
        this.applyCode(code);
      }
    }
  }

  /** Applies a 256-color or RGB code: only the 16 basic colors are shown. */
  private applyExtended(isText: boolean, codes: number[]): void {
    const [kind, index = -1] = codes.splice(0, codes[0] === 5 ? 2 : 4);
    if (isText) {
      this.color = kind === 5 && index < 16 ? index % 8 : -1;
    }
  }

  private applyCode(code: number): void {
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
