import type { JupyterFrontEnd } from '@jupyterlab/application';
import type { ICommandPalette } from '@jupyterlab/apputils';
import type { ILauncher } from '@jupyterlab/launcher';
import type { ReadonlyPartialJSONObject } from '@lumino/coreutils';
import type { RunRow } from '../model/wire';
import { t } from '../model/words';
import type { LabActions } from './actions';
import { runsIcon } from './icon';
import type { ListFeed } from './list_feed';
import { newQuickstart } from './quickstart';

const PREFIX = 'parallelrun-jupyter:';
export const COMMANDS = {
  show: `${PREFIX}show-runs`,
  open: `${PREFIX}open-run`,
  newest: `${PREFIX}open-newest-run`,
  cancel: `${PREFIX}cancel-run`,
  resume: `${PREFIX}resume-run`,
  attach: `${PREFIX}attach-run`,
  quickstart: `${PREFIX}new-quickstart`,
} as const;

interface Dependencies {
  readonly feed: ListFeed;
  readonly actions: LabActions;
  readonly palette: ICommandPalette | null;
  readonly launcher: ILauncher | null;
  open(row: Pick<RunRow, 'run_id' | 'name'>): boolean;
  showPanel(): void;
}

/** Adds the commands; without a `run_id` they act on the newest run, or the newest active one. */
export function addCommands(app: JupyterFrontEnd, dependencies: Dependencies): void {
  const { feed, actions, palette, launcher } = dependencies;
  const { commands } = app;
  const newest = (): RunRow | undefined => feed.latest?.runs[0];
  const target = (args: ReadonlyPartialJSONObject, fallback: RunRow | undefined) =>
    args.run_id
      ? { run_id: String(args.run_id), name: String(args.name ?? args.run_id) }
      : { run_id: fallback?.run_id ?? '', name: fallback?.name ?? '' };
  commands.addCommand(COMMANDS.show, {
    label: t('Show Parallel Runs'),
    caption: t('List the parallel runs, live'),
    execute: () => dependencies.showPanel(),
  });
  commands.addCommand(COMMANDS.open, {
    label: t('Open Parallel Run'),
    execute: (args) => dependencies.open(target(args, undefined)),
    isVisible: ({ run_id }) => run_id !== undefined,
  });
  commands.addCommand(COMMANDS.newest, {
    label: t('Open the Newest Parallel Run'),
    execute: (args) => dependencies.open(target(args, newest())),
    isEnabled: () => newest() !== undefined,
  });
  commands.addCommand(COMMANDS.cancel, {
    label: t('Cancel the Parallel Run…'),
    execute: (args) => {
      const { run_id, name } = target(args, feed.active[0]);
      return actions.cancel(run_id, name);
    },
    isEnabled: ({ run_id }) => run_id !== undefined || feed.active.length > 0,
  });
  commands.addCommand(COMMANDS.resume, {
    label: t('Resume the Newest Parallel Run'),
    execute: (args) => actions.resume(target(args, newest()).run_id),
    isEnabled: ({ run_id }) => run_id !== undefined || newest()?.is_final === true,
  });
  commands.addCommand(COMMANDS.attach, {
    label: t('Show the Newest Parallel Run in a Cell'),
    execute: (args) => actions.attach(target(args, newest()).run_id),
    isEnabled: ({ run_id }) => actions.canAttach && (run_id ?? newest()) !== undefined,
  });
  commands.addCommand(COMMANDS.quickstart, {
    label: t('Parallel Run'),
    caption: t('A new notebook with a first parallel run to adapt'),
    icon: runsIcon,
    execute: ({ cwd }) => newQuickstart(app, String(cwd ?? '')),
  });
  const { open: _, ...listed } = COMMANDS;
  for (const command of Object.values(listed)) {
    palette?.addItem({ command, category: t('Parallel runs') });
  }
  launcher?.add({ command: COMMANDS.quickstart, category: 'Other', rank: 0 });
}
