/** Observes whether an element is on screen; calls `changed` when it scrolls in or out of view. */
export class VisibilityObserver {
  private readonly observer: IntersectionObserver;
  private isOnScreen = true;

  constructor(node: Element, changed: (isVisible: boolean) => void) {
    this.observer = new IntersectionObserver((entries) => {
      const wasOnScreen = this.isOnScreen;
      this.isOnScreen = entries[entries.length - 1]?.isIntersecting ?? true;
      if (this.isOnScreen !== wasOnScreen) {
        changed(this.isVisible);
      }
    });
    this.observer.observe(node);
  }

  get isVisible(): boolean {
    return this.isOnScreen && !document.hidden;
  }

  dispose(): void {
    this.observer.disconnect();
  }
}
