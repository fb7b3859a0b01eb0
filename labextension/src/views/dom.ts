/** DOM helpers for the views. Text is only ever inserted as text nodes. */

export function el<K extends keyof HTMLElementTagNameMap>(
  tag: K,
  className = '',
  ...children: (Node | string)[]
): HTMLElementTagNameMap[K] {
  const node = document.createElement(tag);
  if (className) {
    node.className = className;
  }
  node.append(...children);
  return node;
}

export function button(className: string, label: string, onClick: () => void): HTMLButtonElement {
  const node = el('button', className, label);
  node.type = 'button';
  node.addEventListener('click', onClick);
  return node;
}

/** Sets a text only if it differs, so that selections and screen readers are not disturbed. */
export function setText(node: HTMLElement, text: string): void {
  if (node.textContent !== text) {
    node.textContent = text;
  }
}

export function setHidden(node: HTMLElement, hidden: boolean): void {
  if (node.hidden !== hidden) {
    node.hidden = hidden;
  }
}

/** Sets a text, or hides the element if the text is empty. */
export function setOrHide(node: HTMLElement, text: string): void {
  setHidden(node, !text);
  setText(node, text);
}

/** Sets the name that screen readers announce, and the role unless the tag implies it. */
export function announceAs(node: HTMLElement, name: string, role = ''): void {
  node.setAttribute('aria-label', name);
  if (role) {
    node.setAttribute('role', role);
  }
}

export interface Row<T> {
  readonly node: HTMLElement;
  draw(item: T): void;
}

/** A list of nodes by key: existing nodes are updated in place. */
export class Rows<T> {
  private readonly rows = new Map<string, Row<T>>();

  constructor(
    private readonly parent: HTMLElement,
    private readonly key: (item: T) => string,
    private readonly make: (item: T) => Row<T>,
  ) {}

  draw(items: readonly T[]): void {
    const keys = new Set(items.map(this.key));
    for (const [key, row] of this.rows) {
      if (!keys.has(key)) {
        row.node.remove();
        this.rows.delete(key);
      }
    }
    items.forEach((item, index) => {
      const key = this.key(item);
      const row = this.rows.get(key) ?? this.make(item);
      this.rows.set(key, row);
      row.draw(item);
      if (this.parent.children[index] !== row.node) {
        this.parent.insertBefore(row.node, this.parent.children[index] ?? null);
      }
    });
  }
}
