from __future__ import annotations

import pytest

from parallelrun_jupyter.config.entry_script import check_script, imported_modules
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
        ("async def run(b): return b", "cell, line 1: run is async; expected a plain function"),
        (
            "async def run(b): return b",
            r"Rename it, and write: def run\(mini_batch\): return asyncio\.run\(score\(mini_batch\)\)",
        ),
        (
            "def run(b): return b\nasync def init(): pass",
            "cell, line 2: init is async; expected a plain function, since nothing would await it",
        ),
        ("def run(b): return b\nasync def shutdown(): pass", "line 2: shutdown is async"),
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
