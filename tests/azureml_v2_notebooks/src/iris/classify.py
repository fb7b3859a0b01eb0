import argparse
import json
import os


def init():
    global limit
    parser = argparse.ArgumentParser()
    parser.add_argument("--rule")
    args, _ = parser.parse_known_args()
    with open(os.path.join(args.rule, "rule.json")) as file:
        limit = json.load(file)["limit"]


def run(mini_batch):
    mini_batch["kind"] = ["small" if x < limit else "large" for x in mini_batch["petal"]]
    return mini_batch
