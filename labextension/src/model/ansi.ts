/** Text and the CSS classes for its terminal colors. */
export interface StyledText {
  readonly text: string;
  readonly classes: string;
}

const ESCAPE =
  // biome-ignore lint/suspicious/noControlCharactersInRegex: this module parses escape codes
  /(?:\x1b\[|\x9b)([0-?]*)[ -/]*([@-~])|\x1b(?:[\]PX^_][^\x07\x1b]*(?:\x07|\x1b\\)|[@-Z\\-_])/g;
const COLORS = /^[0-9;:]*$/;
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
    const [, parameters = '', final] = match;
    if (final === 'm' && COLORS.test(parameters)) {
      style.apply(parameters.split(';'));
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

  /** Applies parameters, of which 38 and 48 have arguments: after colons, or as the next ones. */
  apply(parameters: string[]): void {
    for (let next = parameters.shift(); next !== undefined; next = parameters.shift()) {
      const [code = 0, ...details] = next.split(':').map(Number);
      if (code === 38 || code === 48) {
        const size = parameters[0] === '5' ? 2 : 4;
        const color = details.length > 0 ? details : parameters.splice(0, size).map(Number);
        this.applyExtended(code === 38, color);
      } else {
        this.applyCode(code);
      }
    }
  }

  /** Applies a 256-color or RGB code: only the 16 basic colors are shown. */
  private applyExtended(isText: boolean, [kind, index = -1]: readonly number[]): void {
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
