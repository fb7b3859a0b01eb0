"""Returns for each number one row that is hard to write; the argument names the kind."""

import os
import sys
import time

import pandas as pd

TEXTS = ["00123", "NA", "two\nlines", 'say "no", please', "", " ", "\r\n", "1.0"]


def run(mini_batch):
    kind = sys.argv[1]
    numbers = [int(os.path.basename(path).partition(".")[0]) for path in mini_batch]
    if kind == "clash":
        time.sleep(0.3)
        return pd.DataFrame({"x": ["text" if number % 7 == 5 else number for number in numbers]})
    if "bad" in sys.argv and 59 in numbers:
        raise ValueError("the last")
    texts = [TEXTS[number % len(TEXTS)] for number in numbers]
    if kind == "texts":
        return texts
    gaps = [None if number % 3 else 2**60 + number for number in numbers]
    return pd.DataFrame({"text": texts, "id": pd.array(gaps, dtype="Int64"), "x": 0.1})
