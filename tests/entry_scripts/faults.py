"""Applies to each file the fault that the command line assigns to its number: ``raise=3 hang=5 exit=7``.

A fault named with ``once`` in front, as in ``once-exit=7``, happens on the first attempt only.
"""

import os
import signal
import sys
import time

FAULTS = [word.split("=") for word in sys.argv[2:]]
MARKS = sys.argv[1]


def is_due(kind, number):
    if kind.startswith("once-"):
        try:
            open(os.path.join(MARKS, "%s-%d" % (kind, number)), "x").close()
        except FileExistsError:
            return False
    return True


def do(kind, number):
    if kind == "raise":
        raise ValueError("number %d is bad" % number)
    if kind == "hang":
        time.sleep(1000)
    if kind == "exit":
        os._exit(3)
    if kind == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if kind == "segfault":
        os.kill(os.getpid(), signal.SIGSEGV)
    if kind == "sysexit":
        sys.exit(4)
    return {"none": None, "short": [], "long": [1, 2, 3], "text": "text", "number": 5}.get(kind)


def run(mini_batch):
    rows = []
    for path in mini_batch:
        with open(path) as file:
            number = int(file.read())
        for kind, which in FAULTS:
            if number == int(which) and is_due(kind, number):
                if kind in ("none", "short", "long", "text", "number"):
                    return do(kind, number)
                do(kind.replace("once-", ""), number)
        rows.append(os.path.basename(path))
    return rows
