// Removes what the build makes, so that nothing of an earlier one can be packaged.
import { rmSync } from 'node:fs';

const made = ['lib', '../parallelrun_jupyter/labextension', '../parallelrun_jupyter/views/static'];
for (const path of made) {
  rmSync(new URL(`../${path}`, import.meta.url), { recursive: true, force: true });
}
