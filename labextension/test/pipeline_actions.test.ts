import assert from 'node:assert/strict';
import { beforeEach, test } from 'node:test';
import { PipelineActions } from '../src/views/pipeline_actions';
import { click, settle, show, visibleText } from './page';

let sent: number;
let refusal: string;
let actions: PipelineActions;

beforeEach(() => {
  sent = 0;
  refusal = '';
  actions = new PipelineActions(async () => {
    sent += 1;
    if (refusal) {
      throw new Error(refusal);
    }
  });
  show(actions.node);
});

test('a pipeline is canceled after a confirmation, once', async () => {
  assert.equal(visibleText(actions.node), '');
  actions.draw(true);
  click(actions.node, 'Cancel the pipeline');
  assert.equal(visibleText(document.activeElement ?? document.body), 'Keep running');
  assert.equal(sent, 0);
  click(actions.node, 'Stop now');
  await settle();
  actions.draw(true);
  assert.deepEqual([sent, visibleText(actions.node)], [1, 'canceling']);
  actions.draw(false);
  assert.equal(visibleText(actions.node), '');
});

test('a reader may keep it running; an open choice stays open while it is drawn', () => {
  actions.draw(true);
  click(actions.node, 'Cancel the pipeline');
  actions.draw(true);
  click(actions.node, 'Keep running');
  assert.deepEqual([sent, visibleText(actions.node)], [0, 'Cancel the pipeline']);
});

test('a refused request is told and may be sent again', async () => {
  refusal = 'no such pipeline';
  actions.draw(true);
  click(actions.node, 'Cancel the pipeline');
  click(actions.node, 'Stop now');
  await settle();
  assert.equal(visibleText(actions.node), 'Cancel the pipeline no such pipeline');
});
