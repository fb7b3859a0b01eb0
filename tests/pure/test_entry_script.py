"""Entry scripts and cells are checked by parsing them; for names, the oracle is Python, which runs them."""

from __future__ import annotations

import json
import os
from types import ModuleType

import pytest

from parallelrun_jupyter import FileDataset
from parallelrun_jupyter.commands.cell import (
    check_names,
    how_to_define,
    padded,
    with_comments_below,
)
from parallelrun_jupyter.config.entry_script import check_script, imported_modules, notebook_names
from parallelrun_jupyter.errors import EntryScriptError


@pytest.mark.parametrize(
    "source",
    [
        "def run(mini_batch): return mini_batch",
        "def run(mini_batch, top=3): return []",
        "def run(mini_batch, *, verbose=False): return []",
        "def run(*args): return []",
        "def run(mini_batch, context): return []",
        "def run(mini_batch, context, top=3, *, verbose=False): return []",
        "run = lambda b: b",
        "from scoring import run",
        "from scoring import score as run",
        "from scoring import *",
        "if True:\n    def run(b): return b",
        "try:\n    from a import run\nexcept ImportError:\n    from b import run",
        "a, run = 1, print",
        "run: object = print",
        "def init():\n    global run\n    from scoring import run",
    ],
)
def test_scripts_that_define_run(source: str) -> None:
    check_script(source, "cell")


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("def run(b:\n  return b", "cell, line 1: "),
        (
            "def runn(b): return b",
            r"cell defines no function run\(mini_batch\)\. Did you mean 'runn'",
        ),
        ("x = 1", r"cell defines no function run\(mini_batch\)\. Write: def run"),
        ("async def run(a, b, c): return b", r"cell, line 1: run\(a, b, c\) is called with"),
        (
            "x = 1\ndef init():\n    nonlocal x\ndef run(b): return b",
            "cell, line 3: nonlocal|no binding for",
        ),
        (
            "import asyncio\nawait asyncio.sleep(1)\nasync def run(prompt): return prompt",
            r"cell, line 2: 'await' outside function: await asyncio\.sleep\(1\)\. A notebook awaits at the top "
            r"of a cell; an entry script is plain Python\. Write it in async def init\(\), which is awaited",
        ),
        (
            "async with x as y:\n    pass\nasync def run(prompt): return prompt",
            r"line 1: 'async with' outside async function: async with x as y:\. A notebook awaits",
        ),
        (
            "def run(b):\n    await x\n    return b",
            r"line 2: 'await' outside async function: await x\. A notebook",
        ),
        ("return 1\ndef run(b): return b", r"cell, line 1: 'return' outside function: return 1$"),
        ("\ndef run(): return 1", r"cell, line 2: run\(\) is called with the mini-batch, or"),
        ("def run(a, b, c): return 1", r"run\(a, b, c\) is called with the mini-batch, or with"),
        (
            "def run(a, *, b): return 1",
            r"run\(a, \*, b\).*Write: def run\(mini_batch\) or def run\(",
        ),
    ],
)
def test_scripts_that_cannot_run(source: str, message: str) -> None:
    with pytest.raises(EntryScriptError, match=message):
        check_script(source, "cell")


def test_what_a_script_imports_before_it_runs_is_found() -> None:
    source = (
        "from __future__ import annotations\nimport json, os.path as p\nimport json\n"
        "try:\n    from tensorflow.compat import v1\nexcept ImportError:\n    import torch\n"
        "finally:\n    import gc\nif True:\n    import numpy\nfrom . import near\nimport mine.part\n"
        "def init():\n    with x:\n        import late\n    import json\n"
        "def run(mini_batch):\n    import never\n"
    )
    found = imported_modules(source, ["mine", "score.py"])
    assert found == ["json", "os.path", "tensorflow.compat", "gc", "numpy", "late"]
    assert imported_modules("def", []) == []


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
def test_a_name_is_reported_exactly_if_python_misses_it(source: str) -> None:
    assert bool(notebook_names(source, NAMES)) == needs_more(source)


def test_all_names_are_found_with_their_first_lines() -> None:
    source = "# first\ndef run(b):\n    y = np.dumps(x)\n    return x, _i1, unknown, print, len"
    assert notebook_names(source, NAMES) == {"np": 3, "x": 3}


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
def test_a_cell_that_parsing_cannot_judge_is_accepted(source: str) -> None:
    assert notebook_names(source, NAMES) == {}


def test_display_of_the_notebook_is_missed_too() -> None:
    assert notebook_names("def run(b): display(b)", {"display": print}) == {"display": 1}


def test_a_name_of_python_that_the_notebook_has_given_another_value_is_missed() -> None:
    source = "def run(b): return [max(list), open(b), len(b)]"
    names = {"list": [5, 6], "max": max, "len": len, "open": print}
    assert notebook_names(source, names) == {"list": 1, "open": 1}
    with pytest.raises(EntryScriptError) as caught:
        check_names(source, "cell.py", names, ["open"])
    assert str(caught.value).endswith(
        "add --use open,list to the first line, which gives the cell their values; or write "
        "'from builtins import list' in the cell for Python's own list."
    )
    check_names(f"from builtins import list\n{source}", "cell.py", names, ["open"])


def test_the_advice_depends_on_the_value_of_the_name() -> None:
    class Mine:
        pass

    Mine.__module__ = "__main__"
    advice = {
        "np": how_to_define("np", json),
        "os": how_to_define("os", os),
        "x": how_to_define("x", 0.5),
        "loads": how_to_define("loads", json.loads),
        "Mine": how_to_define("Mine", Mine),
        "model": how_to_define("model", object()),
        "files": how_to_define("files", FileDataset("/dev/null")),
    }
    assert advice["np"] == "write 'import json as np' in the cell"
    assert advice["os"] == "write 'import os' in the cell"
    assert advice["loads"] == "write 'from json import loads' in the cell"
    assert advice["x"] == advice["Mine"] == advice["model"] == "", "--use gives it"
    assert how_to_define("get_ipython", None).startswith(
        "remove get_ipython, which exists in notebooks"
    )
    assert advice["files"] == "pass files with --input, and run() receives its items"


BODY = "def run(b):\n    raise ValueError\n"


@pytest.mark.parametrize(
    "above",
    ["", "\n\n", "%%time\n", "\n%%capture out\n\n%%time -n 3\n\n", "  \n"],
)
def test_lines_are_those_of_the_notebook(above: str) -> None:
    typed = f"{above}%%parallelrun -i x\n{BODY}"
    text = padded(BODY, typed)
    assert text.splitlines()[-1] == typed.splitlines()[-1]
    assert len(text.splitlines()) == len(typed.splitlines())
    assert "-i x" not in text


@pytest.mark.parametrize("above", ["# one\n", "# one\n\n# two\n", "\n"])
def test_comments_above_the_magic_move_below_it_and_lines_keep_their_numbers(above: str) -> None:
    typed = f"{above}%%parallelrun -i x\n{BODY}"
    moved = with_comments_below(typed.splitlines(keepends=True))
    assert moved[0] == "%%parallelrun -i x\n"
    assert "".join(moved[1:]) == above + BODY
    for leading in ("", "\n\n"):  # which IPython removes first
        text = padded(above + BODY, leading + typed)
        assert text.splitlines().index("def run(b):") == (leading + typed).splitlines().index(
            "def run(b):"
        )


@pytest.mark.parametrize(
    "typed", ["x = 1\n%%parallelrun -i x\n" + BODY, "# %%parallelrun\nx\n", "x = 1\n", ""]
)
def test_other_cells_stay_as_they_are(typed: str) -> None:
    lines = typed.splitlines(keepends=True)
    assert with_comments_below(lines) == lines
    assert padded(BODY, typed) == f"# %%parallelrun\n{BODY}"


@pytest.mark.parametrize(
    ("line", "remedy"),
    [
        (
            "%matplotlib inline",
            "%matplotlib is a command of IPython .*Leave the line out: the processes",
        ),
        (
            "!pip install x",
            "!pip is a command .* Move the line to a cell of its own, and run it first",
        ),
        ("pip install x", "pip is a command .* and run it first"),
        ("%pip install x", "%pip is a command .* and run it first"),
        (
            "%%time",
            "%%time is a command .* Write it above %%parallelrun, in the first line of the cell",
        ),
        ("!ls x", r"!ls is a command .* or call subprocess\.run\(\.\.\.\)\."),
        ("?help", "it shows help in the notebook"),
        ("run?", "it shows help in the notebook"),
        ("%time f(x != 1)", "Write the statement without it"),
        ("%cd data", r"Move the line to a cell of its own\.$"),
    ],
)
def test_each_command_of_ipython_has_its_remedy(line: str, remedy: str) -> None:
    with pytest.raises(EntryScriptError, match=f"^cell.py, line 3: .*{remedy}"):
        check_script(f"\n\n{line}\ndef run(b): return b", "cell.py")
