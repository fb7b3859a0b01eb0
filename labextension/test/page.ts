/** A page without a browser: installs happy-dom's globals, and stubs layout, canvas and observers. */
import assert from 'node:assert/strict';
import { Window } from 'happy-dom';

const page = new Window({ url: 'http://localhost/' });

const observers = new Set<FakeObserver>();

class FakeObserver {
  readonly nodes = new Set<Element>();

  constructor(readonly callback: (entries: { isIntersecting: boolean }[]) => void) {
    observers.add(this);
  }

  observe(node: Element): void {
    this.nodes.add(node);
  }

  disconnect(): void {
    observers.delete(this);
  }
}

class FakeIntersectionObserver extends FakeObserver {}
class FakeResizeObserver extends FakeObserver {}

const globals = {
  window: page,
  document: page.document,
  Event: page.Event,
  HTMLElement: page.HTMLElement,
  HTMLDetailsElement: page.HTMLDetailsElement,
  KeyboardEvent: page.KeyboardEvent,
  MouseEvent: page.MouseEvent,
  MutationObserver: page.MutationObserver,
  IntersectionObserver: FakeIntersectionObserver,
  ResizeObserver: FakeResizeObserver,
  // A canvas gets the name of a color, such as `var(--pr-done)`, in place of its value.
  getComputedStyle: (node: HTMLElement) => ({ color: node.style.color }),
};
for (const [name, value] of Object.entries(globals)) {
  Object.defineProperty(globalThis, name, { value, configurable: true, writable: true });
}

let isHidden = false;
Object.defineProperty(document, 'hidden', { get: () => isHidden, configurable: true });

/** Hides or shows the browser tab. */
export function setPageHidden(hidden: boolean): void {
  isHidden = hidden;
  document.dispatchEvent(new Event('visibilitychange'));
}

const listeners = new Set<unknown>();
const { addEventListener, removeEventListener } = document;
document.addEventListener = (type: string, call: EventListener): void => {
  listeners.add(call);
  addEventListener.call(document, type, call);
};
document.removeEventListener = (type: string, call: EventListener): void => {
  listeners.delete(call);
  removeEventListener.call(document, type, call);
};

/** Returns the number of listeners of the document. */
export function listenerCount(): number {
  return listeners.size;
}

let width = 450; // px
Object.defineProperty(page.HTMLElement.prototype, 'clientWidth', { get: (): number => width });
Object.defineProperty(page.HTMLElement.prototype, 'clientHeight', { get: (): number => 100 });

/** Sets the width (px) of all elements; 0 if they are not displayed. */
export function setWidth(px: number): void {
  width = px;
}

/** Scrolls an element into or out of view. */
export function setOnScreen(node: Element, isIntersecting: boolean): void {
  for (const observer of observers) {
    if (observer instanceof FakeIntersectionObserver && observer.nodes.has(node)) {
      observer.callback([{ isIntersecting }]);
    }
  }
}

/** Returns the number of observers that are connected. */
export function observerCount(): number {
  return observers.size;
}

/** One filled rectangle of a canvas: its color, and x, y, width and height (px). */
export type Rectangle = readonly [color: string, x: number, y: number, w: number, h: number];

/** The content of the canvas that was painted last. */
export const canvas = { rectangles: [] as Rectangle[], texts: [] as string[], paints: 0 };

const context = {
  fillStyle: '',
  setTransform: () => undefined,
  clearRect: () => {
    canvas.rectangles = [];
    canvas.texts = [];
    canvas.paints += 1;
  },
  fillRect: (x: number, y: number, w: number, h: number) => {
    canvas.rectangles.push([context.fillStyle, x, y, w, h]);
  },
  fillText: (text: string) => {
    canvas.texts.push(text);
  },
  strokeRect: (x: number, y: number, w: number, h: number) => {
    canvas.rectangles.push(['selection', x, y, w, h]);
  },
  beginPath: () => undefined,
  moveTo: () => undefined,
  lineTo: () => undefined,
  stroke: () => undefined,
};
Object.defineProperty(page.HTMLCanvasElement.prototype, 'getContext', { value: () => context });

/** Asserts that these are the very same nodes: a failure of node's own assertions prints the page. */
export function assertSame(actual: Iterable<Node | null>, expected: Iterable<Node | null>): void {
  const [nodes, others] = [[...actual], [...expected]];
  assert.equal(nodes.length, others.length, 'the number of nodes');
  const changed = nodes.findIndex((node, index) => node !== others[index]);
  assert.equal(changed, -1, `node ${changed} is another one: ${nodes[changed]?.textContent}`);
}

/** Makes a node the only content of the page. */
export function show(node: Node): void {
  document.body.replaceChildren(node);
}

/** Returns an element, which must exist. */
export function find<E extends HTMLElement = HTMLElement>(root: Element, selector: string): E {
  const node = root.querySelector<E>(selector);
  if (!node) {
    throw new Error(`there is no ${selector} in ${root.innerHTML}`);
  }
  return node;
}

/** Returns the text that a reader can see: without hidden elements and closed sections. */
export function visibleText(node: Element): string {
  return pieces(node).join('').replace(/\s+/g, ' ').trim();
}

function pieces(node: Node): string[] {
  if (!(node instanceof HTMLElement)) {
    return [node.textContent ?? ''];
  }
  if (node.hidden || node.tagName === 'CANVAS') {
    return [];
  }
  const isClosed = node instanceof HTMLDetailsElement && !node.open;
  const shown = [...node.childNodes].filter(
    (child) => !isClosed || (child as Element).tagName === 'SUMMARY',
  );
  return [' ', ...shown.flatMap(pieces), ' '];
}

/** Returns the visible texts of all elements that match. */
export function texts(root: Element, selector: string): string[] {
  return [...root.querySelectorAll(selector)].map((node) => visibleText(node));
}

/** Clicks the visible button with this text. */
export function click(root: Element, label: string): void {
  const labels = [...root.querySelectorAll<HTMLElement>('button, summary, a')];
  const node = labels.find(
    (button) => visibleText(button) === label && !button.closest('[hidden]'),
  );
  if (!node) {
    throw new Error(`there is no button ${label}: ${labels.map((button) => visibleText(button))}`);
  }
  node.click();
}

/** Presses a key; returns whether the view handled it. */
export function press(node: Element, key: string): boolean {
  const event = new KeyboardEvent('keydown', { key, bubbles: true, cancelable: true });
  node.dispatchEvent(event);
  return event.defaultPrevented;
}

/** Moves the pointer to a position (px) in an element, or clicks there. */
export function point(node: Element, type: 'pointermove' | 'click', x: number, y: number): void {
  const event = new MouseEvent(type, { bubbles: true });
  Object.defineProperties(event, { offsetX: { value: x }, offsetY: { value: y } });
  node.dispatchEvent(event);
}

/** Waits until all pending promises have settled. */
export async function settle(): Promise<void> {
  await new Promise((resolve) => setImmediate(resolve));
}
