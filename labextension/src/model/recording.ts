import type { Recording, RunOutput, Snapshot } from './wire';

/** A run as it was at a moment; the position (ms) counts little of the pauses between its drivers. */
export interface Moment {
  readonly position: number;
  readonly output: RunOutput;
}

/** The speeds that a reader may choose. */
export const SPEEDS: readonly number[] = [1, 2, 4, 8, 16, 30, 60, 250, 1000, 4000];
const USUAL_MS = 20_000;

/** Returns the lowest speed at which a run of this length (ms) plays in 20 seconds. */
export function usualSpeed(length: number): number {
  return SPEEDS.find((speed) => length <= speed * USUAL_MS) ?? 4000;
}

type Frame = readonly [position: number, output: Partial<RunOutput>, snapshot: Partial<Snapshot>];

/** Returns the moments of a recording, in order; the last one has the very output of the recording. */
export async function momentsOf({ frames, output }: Recording): Promise<readonly Moment[]> {
  const moments: Moment[] = [];
  let latest = {} as RunOutput;
  for (const [position, changes, snapshot] of frames ? await unpacked(frames.packed) : []) {
    latest = { ...latest, ...changes, snapshot: { ...latest.snapshot, ...snapshot } };
    moments.push({ position, output: latest });
  }
  const last = moments.pop();
  return last ? [...moments, { position: last.position, output }] : [];
}

async function unpacked(packed: string): Promise<readonly Frame[]> {
  const bytes = Uint8Array.from(atob(packed), (character) => character.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream('gzip'));
  return new Response(stream).json();
}
