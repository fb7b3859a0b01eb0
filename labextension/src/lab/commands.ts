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

interface Parts {
  readonly feed: ListFeed;
  readonly actions: LabActions;
  readonly palette: ICommandPalette | null;
  readonly launcher: ILauncher | null;
  open(row: Pick<RunRow, 'run_id' | 'name'>): boolean;
  showPanel(): void;
}

/** Adds what can be commanded; without a run named, it is the newest, or the newest living one. */
export function addCommands(app: JupyterFrontEnd, parts: Parts): void {
  const { feed, actions, palette, launcher } = parts;
  const { commands } = app;
  const newest = (): RunRow | undefined => feed.latest?.runs[0];
  const named = (args: ReadonlyPartialJSONObject, other: RunRow | undefined) =>
    args.run_id
      ? { run_id: String(args.run_id), name: String(args.name ?? args.run_id) }
      : { run_id: other?.run_id ?? '', name: other?.name ?? '' };
  commands.addCommand(COMMANDS.show, {
    label: t('Show Parallel Runs'),
    caption: t('List the parallel runs, live'),
    execute: () => parts.showPanel(),
  });
  commands.addCommand(COMMANDS.open, {
    label: t('Open Parallel Run'),
    execute: (args) => parts.open(named(args, undefined)),
    isVisible: ({ run_id }) => run_id !== undefined,
  });
  commands.addCommand(COMMANDS.newest, {
    label: t('Open the Newest Parallel Run'),
    execute: (args) => parts.open(named(args, newest())),
    isEnabled: () => newest() !== undefined,
  });
  commands.addCommand(COMMANDS.cancel, {
    label: t('Cancel the Parallel Run…'),
    execute: (args) => {
      const { run_id, name } = named(args, feed.living[0]);
      return actions.cancel(run_id, name);
    },
    isEnabled: ({ run_id }) => run_id !== undefined || feed.living.length > 0,
  });
  commands.addCommand(COMMANDS.resume, {
    label: t('Resume the Newest Parallel Run'),
    execute: (args) => actions.resume(named(args, newest()).run_id),
    isEnabled: ({ run_id }) => run_id !== undefined || newest()?.is_final === true,
  });
  commands.addCommand(COMMANDS.attach, {
    label: t('Show the Newest Parallel Run in a Cell'),
    execute: (args) => actions.attach(named(args, newest()).run_id),
    isEnabled: ({ run_id }) => actions.canAttach && (run_id ?? newest()) !== undefined,
  });
  commands.addCommand(COMMANDS.quickstart, {
    label: t('Parallel Run'),
    caption: t('A new notebook with a first parallel run, to be changed into yours'),
    icon: runsIcon,
    execute: ({ cwd }) => newQuickstart(app, String(cwd ?? '')),
  });
  const { open: _, ...listed } = COMMANDS;
  for (const command of Object.values(listed)) {
    palette?.addItem({ command, category: t('Parallel runs') });
  }
  launcher?.add({ command: COMMANDS.quickstart, category: 'Other', rank: 0 });
}
