import type { Failures, LogWindow } from './wire';

/** Answers what a view asks beyond its snapshot: the server in Lab, the comm in a widget. */
export interface Host {
  logs(worker: string, miniBatch: number): Promise<LogWindow>;
  failures(group: string): Promise<Failures>;
  cancel(drain: boolean): Promise<void>;
}

/** What went wrong, as a sentence. */
export function sentence(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
