"""Ends the process behind run(), before its result can be reported."""

import os


def end(*_):
    os._exit(7)


def run(mini_batch):
    os.write = end
    return mini_batch
