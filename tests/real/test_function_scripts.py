"""`map` and `map_batches` in programs of their own, which import little and define functions in `__main__`."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path


def output(tmp_path: Path, text: str) -> list[str]:
    """Return the lines that a program prints; the run's packages are its only imports."""
    script = tmp_path / "notebook.py"
    body = "".join(f"    {line}\n" for line in BODY[text].splitlines())
    script.write_text(
        f'{FUNCTIONS[text]}\nimport parallelrun_jupyter as parallelrun\nif __name__ == "__main__":\n{body}'
    )
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, str(script)]
    done = subprocess.run(command, env=environ, check=True, stdout=subprocess.PIPE, text=True)
    return done.stdout.splitlines()


FUNCTIONS, BODY = {}, {}

FUNCTIONS["slots"] = """
from dataclasses import dataclass

@dataclass(slots=True)
class Point:
    x: int

class Hidden:
    __slots__ = ("__x", "__weakref__")
    def __init__(self, x):
        self.__x = x
    def get(self):
        return self.__x

class More(Hidden):
    pass

def points(x):
    more = More(x)
    more.y = 3
    return Point(x), Hidden(x), more, hasattr(Point(x), "__dict__")
"""
BODY["slots"] = """
for point, hidden, more, has_dict in parallelrun.map(points, [5, 6]).results():
    print(point == Point(point.x), hidden.get(), more.get(), more.y, has_dict)
"""


def test_objects_with_slots_come_back(tmp_path: Path) -> None:
    assert output(tmp_path, "slots") == ["True 5 5 3 False", "True 6 6 3 False"]


FUNCTIONS["caches"] = """
import functools

@functools.lru_cache(maxsize=5)
def fibonacci(n):
    return n if n < 2 else fibonacci(n - 1) + fibonacci(n - 2)

@functools.cache
def base():
    return 100

class Item:
    def __init__(self, x):
        self.x = x
    @functools.cached_property
    def total(self):
        return self.x + base()

def total(x):
    return Item(x).total, fibonacci(x), fibonacci.cache_parameters()["maxsize"], fibonacci.__name__
"""
BODY["caches"] = """
print(parallelrun.map(fibonacci, [10, 30, 90]).results())
print(parallelrun.map(total, [7]).results())
print([item.total for item in parallelrun.map(Item, [1]).results()])
"""


def test_functions_with_a_cache_travel(tmp_path: Path) -> None:
    assert output(tmp_path, "caches") == [
        "[55, 832040, 2880067194370816120]", "[(107, 13, 5, 'fibonacci')]", "[101]"
    ]  # fmt: skip


FUNCTIONS["paths"] = """
import sys, tempfile, pathlib

def value(x):
    return onlyhere.value + x

if __name__ == "__main__":
    folder = tempfile.mkdtemp()
    pathlib.Path(folder, "onlyhere.py").write_text("value = 5\\ndef add(x): return x + value\\n")
    sys.path.append(folder)
    import onlyhere
"""
BODY["paths"] = """
print(parallelrun.map(value, [1]).results(), parallelrun.map(onlyhere.add, [2]).results())
print(parallelrun.map(value, [1], preload="auto").results())
pathlib.Path(folder, "onlyhere.py").write_text("value = 6\\n")
print(parallelrun.map(value, [1], preload="auto").results())
"""


def test_modules_are_found_where_the_notebook_found_them(tmp_path: Path) -> None:
    assert output(tmp_path, "paths") == ["[6] [7]", "[6]", "[7]"]


FUNCTIONS["pools"] = """
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

def square(x):
    return x * x

def squares(n):
    with get_context("fork").Pool(2) as pool:
        first = pool.map(square, range(n))
    with ProcessPoolExecutor(2, mp_context=get_context("fork")) as executor:
        return first, list(executor.map(square, range(n)))
"""
BODY["pools"] = "print(parallelrun.map(squares, [2, 3], run_max_try=1).results())"


def test_a_function_may_use_a_pool_of_processes_with_another_one(tmp_path: Path) -> None:
    assert output(tmp_path, "pools") == ["[([0, 1], [0, 1]), ([0, 1, 4], [0, 1, 4])]"]


FUNCTIONS["indexes"] = """
import pandas as pd

INDEXES = [
    pd.interval_range(0, 6), pd.period_range("2020", periods=6), pd.date_range("2020", periods=6)
]

def double(rows):
    return rows.v * 2
"""
BODY["indexes"] = """
for index in INDEXES:
    frame = pd.DataFrame({"v": range(6)}, index=index)
    results = parallelrun.map_batches(double, frame, mini_batch_rows=4).results()
    same = results.index.equals(index) and type(results.index) is type(index)
    print(same, getattr(results.index, "freq", 1) == getattr(index, "freq", 1), list(results))
"""


def test_indexes_of_types_that_only_pandas_has_come_back(tmp_path: Path) -> None:
    assert output(tmp_path, "indexes") == ["True True [0, 2, 4, 6, 8, 10]"] * 3


FUNCTIONS["large"] = """
import warnings

LARGE, SMALL = b"x" * (60 << 20), 1

def last(x):
    return LARGE[-1] + SMALL + x
"""
BODY["large"] = """
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    run = parallelrun.map(last, [0])
print(run.results(), caught[0].filename == __file__)
print(caught[0].message)
"""


def test_a_large_variable_of_a_function_is_named_at_the_line_of_the_caller(tmp_path: Path) -> None:
    results, warning = output(tmp_path, "large")
    assert results == "[121] True"
    assert "the variables given by value have 60 MB (LARGE 60 MB, SMALL 5 bytes)" in warning
