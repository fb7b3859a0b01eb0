/** Observes whether an element is on screen, in a page that is; calls `changed` when that changes. */
export class VisibilityObserver {
  private readonly observer: IntersectionObserver;
  private isOnScreen = true;
  private wasVisible = true;

  constructor(
    node: Element,
    private readonly changed: (isVisible: boolean) => void,
  ) {
    this.observer = new IntersectionObserver((entries) => {
      this.isOnScreen = entries[entries.length - 1]?.isIntersecting ?? true;
      this.tell();
    });
    this.observer.observe(node);
    document.addEventListener('visibilitychange', this.tell);
  }

  get isVisible(): boolean {
    return this.isOnScreen && !document.hidden;
  }

  dispose(): void {
    this.observer.disconnect();
    document.removeEventListener('visibilitychange', this.tell);
  }

  private readonly tell = (): void => {
    if (this.isVisible !== this.wasVisible) {
      this.wasVisible = this.isVisible;
      this.changed(this.wasVisible);
    }
  };
}
