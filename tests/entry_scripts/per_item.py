"""Returns one row for each file, made from its name and text alone; the argument names the form."""

import os
import sys

import pandas as pd

TEXTS = ["plain", "two\nlines", 'say "no"\nplease', "", "1.0", "\x00\x93note"]
GAPS = ["a", None, "b,c", None, ""]


def row(path):
    with open(path) as file:
        text = file.read()
    number = sum(text.encode())
    return os.path.basename(path), text, number


def run(mini_batch):
    kind = sys.argv[1]
    with open(os.environ["CALLS"], "a") as calls:
        calls.write("".join(path + "\n" for path in mini_batch))
    rows = [row(path) for path in mini_batch]
    if kind == "text":
        return ["%s %s %s" % (name, text, TEXTS[number % 6]) for name, text, number in rows]
    if kind == "records":
        return [{"name": name, "n": number, "text": TEXTS[number % 6]} for name, _, number in rows]
    if kind == "many":
        return ["%s %d" % (name, k) for name, _, number in rows for k in range(1 + number % 3)]
    if kind == "sum":
        return ["%d of %d" % (sum(number for *_, number in rows), len(rows))] * len(rows)
    frame = pd.DataFrame(
        {
            "name": [name for name, _, _ in rows],
            "n": [number for _, _, number in rows],
            "x": [number / 7 for _, _, number in rows],
            "text": [TEXTS[number % 4] for _, _, number in rows],
            "gap": [GAPS[number % 5] for _, _, number in rows],
            "maybe": pd.array([number if number % 2 else None for *_, number in rows], "Int64"),
        }
    )
    return frame.set_index("name") if kind == "indexed" else frame
