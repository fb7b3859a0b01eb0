import type { JupyterFrontEnd } from '@jupyterlab/application';

const CELLS: readonly (readonly ['code' | 'markdown', string])[] = [
  [
    'markdown',
    '# A parallel run\n\nThe second code cell creates some files; the third one processes them in two ' +
      'workers. Replace `init`, `run` and `--input` with yours; `%%parallelrun?` lists every option.',
  ],
  ['code', '%load_ext parallelrun_jupyter'],
  [
    'code',
    'from pathlib import Path\n\nfolder = Path("first-run/texts")\n' +
      'folder.mkdir(parents=True, exist_ok=True)\nfor number in range(200):\n' +
      '    (folder / f"{number:03d}.txt").write_text(f"some words of text {number}")',
  ],
  [
    'code',
    '%%parallelrun --input "first-run/texts/*.txt" --mini-batch-size 4 --workers 2 --as run\n' +
      'import time\n\n\ndef init():\n    print("ready")\n\n\ndef run(mini_batch):\n' +
      '    time.sleep(0.2)  # replace this with real work\n' +
      '    return [f"{path}: {len(open(path).read().split())} words" for path in mini_batch]',
  ],
  ['code', 'run.wait_for_completion()\nrun.to_pandas()'],
];

/** Creates a notebook with an example run, and opens it. */
export async function newQuickstart(app: JupyterFrontEnd, folder: string): Promise<void> {
  const { contents } = app.serviceManager;
  const notebook = await contents.newUntitled({ path: folder, type: 'notebook' });
  await contents.save(notebook.path, {
    type: 'notebook',
    format: 'json',
    content: {
      nbformat: 4,
      nbformat_minor: 5,
      metadata: {
        kernelspec: { name: 'python3', display_name: 'Python 3', language: 'python' },
        language_info: { name: 'python' },
      },
      cells: CELLS.map(([cell_type, source], index) => ({
        ...{ id: `first-run-${index}`, cell_type, source, metadata: {} },
        ...(cell_type === 'code' ? { outputs: [], execution_count: null } : {}),
      })),
    },
  });
  await app.commands.execute('docmanager:open', { path: notebook.path, factory: 'Notebook' });
}
