import type { Snapshot } from './wire';

/** Returns whether an ended run may be resumed; true for outputs of versions without that field. */
export function mayResume(snapshot: Snapshot): boolean {
  return snapshot.is_final && (snapshot.can_resume ?? true);
}
