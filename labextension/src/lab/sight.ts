/** Knows whether an element is in sight, and says when it comes into it. */
export class Sight {
  private readonly observer: IntersectionObserver;
  private isIn = true;

  constructor(node: Element, appeared: () => void) {
    this.observer = new IntersectionObserver((entries) => {
      const wasIn = this.isIn;
      this.isIn = entries[entries.length - 1]?.isIntersecting ?? true;
      if (this.isIn && !wasIn) {
        appeared();
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
