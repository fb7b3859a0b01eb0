/** Knows whether an element is in sight, and says when it comes into it and goes out of it. */
export class Sight {
  private readonly observer: IntersectionObserver;
  private isIn = true;

  constructor(node: Element, changed: (isVisible: boolean) => void) {
    this.observer = new IntersectionObserver((entries) => {
      const wasIn = this.isIn;
      this.isIn = entries[entries.length - 1]?.isIntersecting ?? true;
      if (this.isIn !== wasIn) {
        changed(this.isVisible);
      }
    });
    this.observer.observe(node);
  }

  get isVisible(): boolean {
    return this.isIn && !document.hidden;
  }

  dispose(): void {
    this.observer.disconnect();
  }
}
