// The kernel client of JupyterLab, for the pages of the tests; bundled by esbuild.
import { KernelManager, ServerConnection } from '@jupyterlab/services';

window.jupyter = { KernelManager, ServerConnection };
