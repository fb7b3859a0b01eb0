import assert from 'node:assert/strict';
import { afterEach, beforeEach, mock, test } from 'node:test';
import type { Snapshot } from '../src/model/wire';
import { RunActions } from '../src/views/actions';
import { completed, FakeHost, output, snapshot } from './fixtures';
import { click, settle, show, visibleText } from './page';

let host: FakeHost;
let actions: RunActions;

beforeEach(() => {
  mock.timers.enable({ apis: ['setTimeout'] });
  host = new FakeHost();
  actions = new RunActions(host);
  show(actions.node);
});

afterEach(() => mock.timers.reset());

function shown(of: Partial<Snapshot> = {}): string {
  actions.draw({ ...output(), snapshot: snapshot(of) });
  return visibleText(actions.node);
}

test('a running run can be canceled, an ended one with work left resumed', () => {
  assert.equal(shown(), 'Cancel');
  assert.equal(shown(completed()), '');
  assert.equal(shown(completed({ state: 'Canceled', left: 10 })), 'Resume');
  assert.equal(shown(completed({ state: 'Failed' })), 'Resume');
  assert.equal(shown(completed({ state: 'Failed', can_resume: false })), '');
  assert.equal(shown(completed({ plan_finished: false })), 'Resume');
});

test('a read-only page has no actions', () => {
  host.actions = null;
  assert.equal(shown(), '');
  assert.equal(shown(completed({ state: 'Failed' })), '');
});

test('canceling asks first, and a second Enter does not cancel', () => {
  shown();
  actions.node.querySelector('button')?.focus();
  click(actions.node, 'Cancel');
  assert.equal(shown(), 'Stop now Finish running mini-batches Keep running');
  assert.equal(document.activeElement?.textContent, 'Keep running');
  click(actions.node, 'Keep running');
  assert.equal(shown(), 'Cancel');
  assert.equal(document.activeElement?.textContent, 'Cancel');
  assert.deepEqual(host.calls, []);
});

test('a cancel is sent once, with its progress, and a slow kernel is explained', async () => {
  shown();
  click(actions.node, 'Cancel');
  click(actions.node, 'Finish running mini-batches');
  actions.send('stop');
  assert.deepEqual(host.calls, ['cancel drain']);
  mock.timers.tick(1500);
  assert.equal(shown(), 'canceling; the kernel answers once its cell finishes');
  await settle();
  assert.equal(shown(), 'canceling once the running mini-batches finish');
  assert.equal(shown(completed({ state: 'Canceled', left: 10 })), 'Resume');
});

test('a refused request shows why, and can be sent again', async () => {
  shown(completed({ state: 'Failed' }));
  host.error = new Error('input a.png has changed');
  click(actions.node, 'Resume');
  assert.equal(visibleText(actions.node), 'resuming');
  await settle();
  assert.equal(visibleText(actions.node), 'Resume input a.png has changed');
  assert.ok(actions.node.querySelector('.pr-said.pr-alarm'));
  host.error = null;
  click(actions.node, 'Resume');
  await settle();
  assert.deepEqual(host.calls, ['resume all', 'resume all']);
  assert.equal(shown(), 'Cancel');
});

test('the output can be opened if a server has it', () => {
  assert.equal(shown(completed({ output: '/out/a.txt' })), '');
  host.files = true;
  assert.equal(shown(completed({ output: '/out/a.txt' })), 'Open output');
  assert.equal(actions.node.querySelector('a')?.getAttribute('href'), '/result');
  assert.equal(actions.node.querySelector('a')?.rel, 'noopener');
});
