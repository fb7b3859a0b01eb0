"""Reads side inputs in init(): a file of labels and a folder, from its arguments."""

import argparse
import os


def init():
    global labels, names
    parser = argparse.ArgumentParser()
    parser.add_argument("--labels")
    parser.add_argument("--folder")
    parser.add_argument("--word")
    given, _ = parser.parse_known_args()
    with open(given.labels) as file:
        labels = file.read().split()
    names = [*sorted(os.listdir(given.folder)), given.word, os.path.basename(given.labels)]
    mounted = os.environ["AZUREML_DATAREFERENCE_labels"]  # noqa: SIM112 - Azure's way of naming
    with open(mounted) as file:
        assert file.read().split() == labels


def run(mini_batch):
    rows = []
    for path in mini_batch:
        with open(path) as file:
            rows.append("%s %s" % (labels[int(file.read())], " ".join(names)))
    return rows
