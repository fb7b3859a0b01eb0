import type { Recording, RunOutput, Snapshot } from './wire';

/** A run as it was at a moment; the position (ms) counts little of the pauses between its drivers. */
export interface Moment {
  readonly position: number;
  readonly output: RunOutput;
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
