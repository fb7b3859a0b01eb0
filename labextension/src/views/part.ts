import type { RunOutput } from '../model/wire';

/** A piece of the view of a run. */
export interface Part {
  readonly node: HTMLElement;

  /**
   * Draws where the run stands.
   *
   * @param output - The run.
   * @param age - Seconds since then, to count on what only grows with the clock.
   */
  draw(output: RunOutput, age: number): void;

  /** Lets go of what would outlive the view. */
  dispose?(): void;
}
