// A notebook without Jupyter's front end: cells that run in a kernel of a Jupyter server, and whose
// outputs are drawn as Colab does it (html-manager) or as VS Code does it (its own bundle).
'use strict';

const WIDGET_MIME = 'application/vnd.jupyter.widget-view+json';
const options = new URLSearchParams(location.search);
requirejs.config({ paths: { anywidget: 'anywidget' } });

const need = (...names) => new Promise((resolve, reject) => {
  requirejs(names, (...modules) => resolve(modules), reject);
});

async function htmlManager(kernel) {
  const [base, { HTMLManager }] = await need('@jupyter-widgets/base', '@jupyter-widgets/html-manager');
  const wrapped = (comm) => new base.shims.services.Comm(comm);
  class Manager extends HTMLManager {
    constructor() {
      super({ loader: async (name) => (await need(name))[0] });
      kernel.registerCommTarget('jupyter.widget', (comm, message) =>
        this.handle_comm_open(wrapped(comm), message));
    }
    _get_comm_info() {
      return kernel.requestCommInfo({ target_name: 'jupyter.widget' }).then((r) => r.content.comms);
    }
    async _create_comm(target, id, data, metadata) {
      const comm = kernel.createComm(target, id);
      if (data || metadata) {
        comm.open(data, metadata);
      }
      return wrapped(comm);
    }
  }
  const manager = new Manager();
  return {
    manager,
    draw: async (model, place) => {
      const view = await manager.create_view(model);
      await manager.display_view(view, place);
      return view.luminoWidget;
    },
  };
}

async function codeManager(kernel) {
  const { activate } = await import('./vscode.js');
  activate();
  document.body.className = 'vscode-dark';
  window.vscIPyWidgets8.load();
  const scripts = {
    widgetsRegisteredInRequireJs: new Set(['anywidget']),
    loadWidgetScript: async () => {},
    successHandler: () => {},
    errorHandler: (...what) => console.error('no widget', ...what.map(String)),
  };
  const manager = new window.vscIPyWidgets.WidgetManager(kernel, document.body, scripts, () => {});
  return {
    manager,
    draw: async (model, place) =>
      manager.display_view({}, await manager.create_view(model, { el: place }), { node: place }),
  };
}

const outputs = new Map();
const views = new Map();
let drawer;

async function drawOutput(place, data) {
  const view = data[WIDGET_MIME];
  const model = view && (await drawer.manager.get_model(view.model_id).catch(() => null));
  views.get(place)?.dispose();
  views.delete(place);
  place.replaceChildren();
  if (model) {
    views.set(place, await drawer.draw(model, place));
  } else {
    place.innerHTML = data['text/html'] ?? '';
    place.append(data['text/html'] ? '' : (data['text/plain'] ?? ''));
  }
}

function receive(cell, { header, content }) {
  if (header.msg_type === 'stream') {
    cell.append(content.text);
  } else if (header.msg_type === 'error') {
    cell.append(`${content.ename}: ${content.evalue}`);
  } else if (content.data && /^(display_data|execute_result)$/.test(header.msg_type)) {
    const place = document.createElement('div');
    cell.append(place);
    keep(place, content);
    return drawOutput(place, content.data);
  }
}

function keep(place, content) {
  const id = content.transient?.display_id ?? '';
  outputs.set(id, place);
  sessionStorage.setItem('saved', JSON.stringify({ id, data: content.data }));
}

async function start() {
  const { KernelManager, ServerConnection } = window.jupyter;
  const serverSettings = ServerConnection.makeSettings({
    baseUrl: `${location.origin}/`,
    wsUrl: `${location.origin.replace('http', 'ws')}/`,
    token: options.get('token'),
    appendToken: true,
  });
  const kernels = new KernelManager({ serverSettings });
  await kernels.ready;
  const id = sessionStorage.getItem('kernel');
  const known = id && [...kernels.running()].find((one) => one.id === id);
  const kernel = known ? kernels.connectTo({ model: known }) : await kernels.startNew({ name: 'python3' });
  sessionStorage.setItem('kernel', kernel.id);
  drawer = await (options.get('manager') === 'code' ? codeManager(kernel) : htmlManager(kernel));
  kernel.iopubMessage.connect((_, { header, content }) => {
    const place = outputs.get(content.transient?.display_id);
    if (header.msg_type === 'update_display_data' && place) {
      keep(place, content);
      void drawOutput(place, content.data);
    }
  });
  window.execute = (code) => {
    const cell = document.createElement('section');
    cell.className = 'cell';
    document.querySelector('main').append(cell);
    const future = kernel.requestExecute({ code });
    future.onIOPub = (message) => receive(cell, message);
    cell.dataset.state = 'busy';
    void future.done.then(() => {
      cell.dataset.state = 'done';
    });
  };
  const saved = JSON.parse(sessionStorage.getItem('saved') ?? 'null');
  if (saved) {
    await kernel.info;
    await drawer.manager._loadFromKernel();
    const place = document.createElement('div');
    document.querySelector('main').append(place);
    outputs.set(saved.id, place);
    await drawOutput(place, saved.data);
  }
  document.body.dataset.state = 'ready';
}

start();
