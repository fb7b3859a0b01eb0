"""Takes a twentieth of a second for each mini-batch."""

import os
import time


def run(mini_batch):
    time.sleep(0.05)
    return [os.path.basename(path) for path in mini_batch]
