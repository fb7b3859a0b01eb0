"""Reads its files: a row has the path of a file in the store and its content."""

import os


def run(mini_batch):
    rows = []
    for path in mini_batch:
        inside = path.split("%sviews%s" % (os.sep, os.sep))[1].split(os.sep, 2)[2]
        with open(path) as file:
            rows.append("%s=%s" % (inside, file.read()))
    return rows
