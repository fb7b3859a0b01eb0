"""Returns its table with one column more; of a text in every second mini-batch when told to."""

import sys


def run(mini_batch):
    twice = mini_batch["price"] * 2
    if "odd" in sys.argv and int(mini_batch["id"][0]) // 1000 % 2:
        twice = twice.astype(str)
    return mini_batch.assign(twice=twice)
