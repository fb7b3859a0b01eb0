import type { RunOutput } from '../model/wire';

/** One section of the view of a run. */
export interface Section {
  readonly node: HTMLElement;

  /**
   * Draws the state of the run.
   *
   * @param output - The state of the run.
   * @param age - The age of that state in seconds, which is added to running times.
   */
  draw(output: RunOutput, age: number): void;

  /** Asks the host again for what is shown: the run is at another moment. */
  fetchAgain?(): void;

  /** Releases timers and observers. */
  dispose?(): void;
}
