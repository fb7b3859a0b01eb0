import assert from 'node:assert/strict';
import { afterEach, test } from 'node:test';
import { plural } from '../src/model/format';
import { noun, setTranslator, t } from '../src/model/words';

afterEach(() => setTranslator(null));

test('placeholders are filled in any order, and values are not searched for placeholders', () => {
  assert.equal(t('{1} of {0}', 10, 3), '3 of 10');
  assert.equal(t('{0} and {1}', '{1}', '{0}'), '{1} and {0}');
  assert.equal(t('no values: {0}'), 'no values: {0}');
});

test('nouns have English plurals', () => {
  assert.deepEqual(
    [noun('item', 1), noun('item', 0), noun('mini-batch', 2), noun('process', 2)],
    ['item', 'items', 'mini-batches', 'processes'],
  );
});

test('a host translates all texts until the translator is removed', () => {
  setTranslator({
    text: (words) => (words === '{0} failed' ? '{0} fehlgeschlagen' : words),
    plural: (singular, many, value) => (value === 1 ? `ein ${singular}` : `viele ${many}`),
  });
  assert.equal(t('{0} failed', 3), '3 fehlgeschlagen');
  assert.equal(plural(3, 'item'), '3 viele items');
  setTranslator(null);
  assert.equal(t('{0} failed', 3), '3 failed');
});
