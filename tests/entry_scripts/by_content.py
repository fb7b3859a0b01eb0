"""Returns rows that are made of the content of each file alone; the arguments name the form."""

import os
import sys
import time

import pandas as pd

TEXTS = ["plain", "two\nlines", 'say "no"\nplease', "", "1.0", "\x00\x93note"]
GAPS = ["a", None, "b,c", None, ""]


def text_of(path):
    with open(path) as file:
        text = file.read()
    if text == "poison":
        raise ValueError("a bad file")
    return text, sum(text.encode())


def run(mini_batch):
    kind = sys.argv[1]
    with open(os.environ["CALLS"], "a") as calls:
        calls.write("".join(path + "\n" for path in mini_batch))
    if "slow" in sys.argv:
        time.sleep(0.3)
    rows = [text_of(path) for path in mini_batch]
    if kind == "name":
        return [os.path.basename(path) for path in mini_batch]
    if kind == "text":
        return ["%s %s" % (text, TEXTS[number % 6]) for text, number in rows]
    if kind == "records":
        return [{"n": number, "text": TEXTS[number % 6]} for _, number in rows]
    if kind == "many":
        return ["%s %d" % (text, k) for text, number in rows for k in range(1 + number % 3)]
    frame = pd.DataFrame(
        {
            "content": [text for text, _ in rows],
            "n": [number for _, number in rows],
            "x": [number / 7 for _, number in rows],
            "text": [TEXTS[number % 4] for _, number in rows],
            "gap": [GAPS[number % 5] for _, number in rows],
            "maybe": pd.array([number if number % 2 else None for _, number in rows], "Int64"),
        }
    )
    return frame.set_index("content") if kind == "indexed" else frame
