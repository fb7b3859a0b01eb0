// Removes all build outputs, so that no stale file can be packaged.
import { rmSync } from 'node:fs';

const outputs = [
  'lib',
  'test/built',
  '../parallelrun_jupyter/labextension',
  '../parallelrun_jupyter/views/static',
];
for (const path of outputs) {
  rmSync(new URL(`../${path}`, import.meta.url), { recursive: true, force: true });
}
