"""Kills the process that its node lives in, for the files that are named on the command line."""

import os
import signal
import sys
import time

FATAL = sys.argv[1:]


def run(mini_batch):
    time.sleep(0.05)
    for path in mini_batch:
        if os.path.basename(path) in FATAL:
            os.kill(os.getppid(), signal.SIGKILL)
            time.sleep(10)
    return [os.path.basename(path) for path in mini_batch]
