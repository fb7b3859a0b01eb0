"""Computes in processes that it starts in the way that its argument says."""

import multiprocessing
import sys
from concurrent.futures import ProcessPoolExecutor

how = sys.argv[1]


def double(path):
    with open(path) as file:
        return int(file.read()) * 2


def run(mini_batch):
    ways = multiprocessing.get_context(how)
    with ProcessPoolExecutor(2, mp_context=ways) as executor:
        rows = list(executor.map(double, mini_batch))
    with ways.Pool(2) as pool:
        assert pool.map(double, mini_batch) == rows
    return rows
