import { LabIcon } from '@jupyterlab/ui-components';

/** Three progress bars of different lengths. */
export const runsIcon = new LabIcon({
  name: 'parallelrun-jupyter:runs',
  svgstr:
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 24 24" width="16">' +
    '<g class="jp-icon3" fill="#616161">' +
    '<path d="M4 5h13v3H4zM4 10.5h16v3H4zM4 16h8v3H4z"/></g></svg>',
});
