"""Returns the dtypes of its mini-batch with each row.

``argv``: seconds to sleep, a type to refuse, and the most rows that fit into memory.
"""

import argparse
import time

parser = argparse.ArgumentParser()
parser.add_argument("--sleep", type=float, default=0.0)
parser.add_argument("--refuse", default="")
parser.add_argument("--most", type=int, default=1 << 30)
args, _ = parser.parse_known_args()


def run(mini_batch):
    time.sleep(args.sleep)
    if len(mini_batch) > args.most:
        raise MemoryError
    types = " ".join(map(str, mini_batch.dtypes))
    if args.refuse and args.refuse in types:
        raise ValueError(f"no {args.refuse}, please")
    return [f"{row.id} {types}" for row in mini_batch.itertuples()]
