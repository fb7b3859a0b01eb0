"""Returns the dtypes of its mini-batch with each row; ``argv``: seconds to sleep, and a type to refuse."""

import argparse
import time

parser = argparse.ArgumentParser()
parser.add_argument("--sleep", type=float, default=0.0)
parser.add_argument("--refuse", default="")
args, _ = parser.parse_known_args()


def run(mini_batch):
    time.sleep(args.sleep)
    types = " ".join(map(str, mini_batch.dtypes))
    if args.refuse and args.refuse in types:
        raise ValueError(f"no {args.refuse}, please")
    return [f"{row.id} {types}" for row in mini_batch.itertuples()]
