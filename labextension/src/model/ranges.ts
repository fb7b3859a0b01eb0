import { count } from './format';
import { t } from './words';

/** Names the items of a mini-batch by position: `item 17`, or `items 3 to 5, 9`. */
export function itemsText(ranges: readonly (readonly number[])[]): string {
  const parts = ranges.map(([first = 0, size = 1]) =>
    size === 1 ? count(first) : t('{0} to {1}', count(first), count(first + size - 1)),
  );
  const isSingle = ranges.length === 1 && ranges[0]?.[1] === 1;
  return isSingle ? t('item {0}', parts.join()) : t('items {0}', parts.join(', '));
}
