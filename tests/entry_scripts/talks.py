"""Prints and logs in every possible way."""

import logging
import os
import subprocess
import sys

logger = logging.getLogger("scorer")


def init():
    print("init prints")
    with open(os.path.join(os.environ["MARKS"], str(os.getpid())), "a") as file:
        file.write("init\n")


def run(mini_batch):
    name = os.path.basename(mini_batch[0])
    print("prints", name)
    print("complains", name, file=sys.stderr)
    logger.debug("debug is %s", name)
    logger.info("info is %s", name)
    logger.warning("warning is %s", name)
    subprocess.run(["echo", "a child says " + name], check=True)
    os.write(1, b"raw " + name.encode() + b"\n")
    print("no line end " + name, end="")
    return mini_batch


def shutdown():
    print("shutdown prints")
