"""Returns a table: each file's name, its number, and a long text; takes some seconds."""

import os
import random
import sys
import time

import pandas as pd


def run(mini_batch):
    seconds, size = float(sys.argv[1]), int(sys.argv[2])
    time.sleep(seconds)
    names = [os.path.basename(path) for path in mini_batch]
    numbers = [int(name.partition(".")[0]) for name in names]
    if "bad" in sys.argv and 7 in numbers:
        raise ValueError("seven")
    texts = [random.Random(number).randbytes(size // 2).hex() for number in numbers]
    values = [None if "gaps" in sys.argv and n < 20 else n for n in numbers]
    frame = pd.DataFrame({"name": names, "number": values, "text": texts})
    if "gaps" in sys.argv and numbers[0] >= 20:
        frame = frame.astype({"number": "int64"})
    if "clash" in sys.argv and numbers[0] >= 40:
        frame["number"] = frame["number"].astype(str)
    return frame
