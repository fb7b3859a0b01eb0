import { panelPlugin } from './lab/panel_plugin';
import { livePlugin, rendererPlugin } from './lab/plugins';

export default [livePlugin, rendererPlugin, panelPlugin];
