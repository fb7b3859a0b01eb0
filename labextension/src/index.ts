import { livePlugin, panelPlugin, rendererPlugin } from './lab/plugins';

export default [livePlugin, rendererPlugin, panelPlugin];
