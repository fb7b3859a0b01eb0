"""Names of the notebook in a cell are found by reading it; the oracle is Python, which runs it."""

from __future__ import annotations

import json
import os
from types import ModuleType

import pytest

from parallelrun_jupyter import FileDataset
from parallelrun_jupyter.commands.notebook_names import uses_of, what_to_write

NAMES = {"x": 0.5, "np": json, "helper": len, "run": 1, "_i1": "x", "K": dict}

CELLS = [
    "def run(b): return [x for _ in b]",
    "def run(b): return [np.dumps(i) for i in b]",
    "def run(b):\n    x = 1\n    return x",
    "x = 3\ndef run(b): return x",
    "import json as np\ndef run(b): return np.dumps(1)",
    "def init():\n    global x\n    x = 1\ndef run(b): return x",
    "def run(b):\n    global x\n    return x",
    "def run(b, x=2): return x",
    "def run(b):\n    return (lambda x: x)(1)",
    "def run(b): return [x for x in b]",
    "def run(b): return [helper(i) for i in b]",
    "class A:\n    y = x\ndef run(b): return A.y",
    "class A(K): pass\ndef run(b): return A",
    "@helper\ndef run(b): return b",
    "for x in range(3): pass\ndef run(b): return x",
    "with open('/dev/null') as x: pass\ndef run(b): return x.name",
    "try:\n    1 / 0\nexcept ZeroDivisionError as x:\n    pass\ndef run(b): return b",
    "def run(b):\n    def inner():\n        return x\n    return inner()",
    "def run(b):\n    x = 1\n    def inner():\n        nonlocal x\n        x += 1\n        return x\n"
    "    return inner()",
    "def run(b: K) -> x: return b",
    "from __future__ import annotations\ndef run(b: K, *c: np) -> x:\n    y: K = 1\n    return y",
    "if (x := 3) > 2: pass\ndef run(b): return x",
    "def run(b): return f'{x}'",
    "del_me = 1\ndel del_me\ndef run(b): return b",
    "def run(b, c=x): return c",
    "def run(b):\n    match b:\n        case [x, *_]: return x\n    return 1",
]


def needs_more(source: str) -> bool:
    """Return whether Python misses a name when it runs the cell."""
    module = ModuleType("cell")
    try:
        exec(compile(source, "cell.py", "exec", dont_inherit=True), module.__dict__)
        if hasattr(module, "init"):
            module.init()
        module.run([1, 2])
    except NameError:
        return True
    return False


@pytest.mark.parametrize("source", CELLS)
def test_a_name_is_found_just_where_python_misses_it(source: str) -> None:
    assert bool(uses_of(source, NAMES)) == needs_more(source)


def test_all_names_are_found_with_their_first_lines() -> None:
    source = "# first\ndef run(b):\n    y = np.dumps(x)\n    return x, _i1, unknown, print, len"
    assert uses_of(source, NAMES) == {"np": 3, "x": 3}


@pytest.mark.parametrize(
    "source",
    [
        "from math import *\ndef run(b): return x",
        "def run(b): return x if 'x' in globals() else 1",
        "exec('x = 1')\ndef run(b): return x",
        "def run(b: return x",
        "def run(b): return '\0'",
    ],
)
def test_a_cell_that_cannot_be_judged_by_reading_is_left_alone(source: str) -> None:
    assert uses_of(source, NAMES) == {}


def test_display_of_the_notebook_is_missed_too() -> None:
    assert uses_of("def run(b): display(b)", {"display": print}) == {"display": 1}


def test_what_to_write_depends_on_what_the_name_holds() -> None:
    class Mine:
        pass

    Mine.__module__ = "__main__"
    said = {
        "np": what_to_write("np", json),
        "os": what_to_write("os", os),
        "x": what_to_write("x", 0.5),
        "loads": what_to_write("loads", json.loads),
        "Mine": what_to_write("Mine", Mine),
        "model": what_to_write("model", object()),
        "files": what_to_write("files", FileDataset("/dev/null")),
    }
    assert said["np"] == "write 'import json as np' in the cell"
    assert said["os"] == "write 'import os' in the cell"
    assert said["x"].startswith("write 'x = 0.5' in the cell")
    assert said["loads"] == "write 'from json import loads' in the cell"
    assert said["Mine"].startswith("define Mine in the cell, or import it from a file")
    assert said["model"].startswith("make model in the cell's init()")
    assert said["files"] == "give files with --input, and run() is given its items"
