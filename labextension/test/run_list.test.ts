import assert from 'node:assert/strict';
import { beforeEach, test } from 'node:test';
import type { RunRow } from '../src/model/wire';
import { RunListView } from '../src/views/run_list';
import { row } from './fixtures';
import { assertSame, click, find, press, show, texts, visibleText } from './page';

let view: RunListView;
let calls: string[];
let canAttach: boolean;

beforeEach(() => {
  calls = [];
  canAttach = true;
  const call = (name: string) => (of: RunRow) => calls.push(`${name} ${of.run_id}, ${of.state}`);
  view = new RunListView({
    ...{ open: call('open'), cancel: call('cancel') },
    ...{ resume: call('resume'), attach: call('attach') },
    canAttach: () => canAttach,
  });
  show(view.node);
});

function draw(runs: readonly RunRow[], hidden = 0): void {
  view.draw({ runs, hidden });
}

function filter(text: string): void {
  const input = find<HTMLInputElement>(view.node, 'input');
  input.value = text;
  input.dispatchEvent(new Event('input'));
}

test('the list has a note while it is loading, empty, filtered or shortened', () => {
  assert.equal(visibleText(view.node), 'loading the runs');
  draw([]);
  assert.match(visibleText(view.node), /^No runs yet. Start one in a notebook/);
  draw([row()], 1200);
  assert.match(
    visibleText(view.node),
    /1 run, 4.0 kB on disk · and 1,200 older: run parallelrun list$/,
  );
  filter('nothing like that');
  assert.equal(visibleText(view.node), 'No run matches.');
});

test('a run has its state, progress, duration, items and size', () => {
  draw([row({ headline: 'Running', elapsed_s: 65, failed: 5 })]);
  assert.match(
    visibleText(view.node),
    /^▶ digits 40 % Running \d{4}-\d\d-\d\d \d\d:\d\d 1:05 · 400 of 1,000 items · 4.0 kB/,
  );
  draw([row({ plan_finished: false })]);
  assert.match(visibleText(view.node), /^▶ digits Running .* 400 items · /);
});

test('the last line has the size of the runs that are shown', () => {
  const large = row({ run_id: 'r2', name: 'faces', size_bytes: 3 * 1024 ** 3 });
  draw([row(), large]);
  assert.match(visibleText(view.node), / 2 runs, 3.0 GB on disk$/);
  filter('digits');
  assert.match(visibleText(view.node), / 1 run, 4.0 kB on disk$/);
});

test('a run that is not read yet has no glyph, no numbers and no cancel button', () => {
  draw([row({ is_read: false, plan_finished: false, headline: 'reading' })]);
  assert.match(visibleText(view.node), /^digits reading \S+ \S+ show in a cell 1 run, /);
});

test('names, IDs and states are filtered without regard to case', () => {
  const other = row({ run_id: 'r2', name: 'faces', state: 'Failed', headline: 'Failed, 3 items' });
  draw([row(), other]);
  for (const [text, names] of Object.entries({
    ...{ FACES: ['faces'], r1: ['digits'], 'fail*3': ['faces'], '  digits ': ['digits'] },
    '': ['digits', 'faces'],
  })) {
    filter(text);
    assert.deepEqual(texts(view.node, '.pr-name'), names, text);
  }
});

test('each action is offered when it is possible, and acts on the run of now', () => {
  const actions = (): string => texts(view.node, '.pr-row-actions').join();
  draw([row()]);
  assert.equal(actions(), 'cancel show in a cell');
  click(view.node, 'cancel');
  draw([row({ is_final: true, state: 'Canceled', can_resume: true })]);
  assert.equal(actions(), 'resume show in a cell');
  click(view.node, 'resume');
  canAttach = false;
  draw([row({ is_final: true, state: 'Completed' })]);
  assert.equal(actions(), '');
  find(view.node, '.pr-open').click();
  assert.deepEqual(calls, ['cancel r1, Running', 'resume r1, Canceled', 'open r1, Completed']);
});

test('the arrow keys move between the runs', () => {
  draw([row(), row({ run_id: 'r2' }), row({ run_id: 'r3' })]);
  const links = [...view.node.querySelectorAll<HTMLElement>('.pr-open')];
  links[0]?.focus();
  const visited = ['ArrowDown', 'ArrowDown', 'ArrowDown', 'ArrowUp'].map((key) => {
    press(document.activeElement as Element, key);
    return links.indexOf(document.activeElement as HTMLElement);
  });
  assert.deepEqual(visited, [1, 2, 2, 1]);
});

test('rows are patched in place, in the order of the list', () => {
  draw([row(), row({ run_id: 'r2' })]);
  const nodes = [...view.node.querySelectorAll('.pr-row')];
  draw([row({ run_id: 'r3' }), row({ run_id: 'r2' }), row({ items_left: 500 })]);
  assertSame([...view.node.querySelectorAll('.pr-row')].slice(1), nodes.reverse());
  assert.match(texts(view.node, '.pr-row')[2] ?? '', /50 %/);
});
