const LEVELS = '0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz-_';
const SVG = 'http://www.w3.org/2000/svg';
const WIDTH = 60;
const HEIGHT = 14;

/** A line of recent values, one character each; the encoding is that of the Python module `timeline`. */
export class Sparkline {
  readonly node = document.createElementNS(SVG, 'svg');
  private readonly line = document.createElementNS(SVG, 'polyline');
  private series = '';

  constructor() {
    this.node.setAttribute('class', 'pr-spark');
    this.node.setAttribute('viewBox', `0 0 ${WIDTH} ${HEIGHT}`);
    this.node.setAttribute('aria-hidden', 'true');
    this.node.append(this.line);
  }

  draw(series: string): void {
    if (series === this.series) {
      return;
    }
    this.series = series;
    const step = WIDTH / Math.max(1, series.length - 1);
    const points = [...series].flatMap((letter, index) => {
      const level = LEVELS.indexOf(letter);
      const y = HEIGHT - 1 - ((HEIGHT - 2) * level) / (LEVELS.length - 1);
      return level < 0 ? [] : [`${(index * step).toFixed(1)},${y.toFixed(1)}`];
    });
    this.line.setAttribute('points', points.join(' '));
  }
}
