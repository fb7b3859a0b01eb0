"""Returns the version of its Python, and uses the modules of scripts of the azureml era."""

import argparse
import logging
import sys

parser = argparse.ArgumentParser()
parser.add_argument("--model")
args, _ = parser.parse_known_args()


def init():
    logging.info("model is %s", args.model)


def run(mini_batch):
    print("on", sys.version_info[:2])
    return ["%d.%d %s" % (sys.version_info[0], sys.version_info[1], args.model)] * len(mini_batch)
