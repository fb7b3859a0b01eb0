"""Values of a notebook travel to workers; the oracle for copies is the value itself, for lines the source."""

from __future__ import annotations

import functools
import gc
import linecache
import os
import pickle
import socket
import sqlite3
import subprocess
import sys
import threading
import weakref
from pathlib import Path
from types import ModuleType
from typing import Any, cast

import numpy as np
import pandas as pd
import pytest

from parallelrun_jupyter.client import by_value
from parallelrun_jupyter.client.by_value import dump, pack, pack_all, write
from parallelrun_jupyter.client.script import modules_of, script_of_entry
from parallelrun_jupyter.config.entry_function import entry
from parallelrun_jupyter.errors import ConfigError, EntryScriptError
from parallelrun_jupyter.worker import uses
from parallelrun_jupyter.worker.failures import BadSettings
from parallelrun_jupyter.worker.uses import load_uses


def notebook(source: str, name: str = "/tmp/ipykernel_1/2.py", **names: Any) -> dict[str, Any]:
    """Run a cell as a notebook does: in ``__main__``, its source in the cache of lines."""
    main = ModuleType("__main__")
    main.__dict__.update(names)
    linecache.cache[name] = (len(source), None, source.splitlines(keepends=True), name)
    exec(compile(source, name, "exec"), main.__dict__)
    return main.__dict__


def travelled(folder: Path, **values: Any) -> dict[str, Any]:
    packed = pack_all(values)
    write(folder / "uses", packed)
    return load_uses(str(folder / "uses"), {name: one.python for name, one in packed.items()})


def test_values_arrive_as_they_were_and_may_be_changed(tmp_path: Path) -> None:
    array = np.arange(1_000_000, dtype="int32").reshape(1000, 1000)
    frame = pd.DataFrame({"a": np.arange(100_000.0), "b": ["x", "y"] * 50_000})
    small = {"k": [1, 2.5, None, "text"], "t": (b"bytes", {3})}
    found = travelled(tmp_path, array=array, frame=frame, small=small)
    assert found["small"] == small
    np.testing.assert_array_equal(found["array"], array)
    pd.testing.assert_frame_equal(found["frame"], frame)
    found["array"][0, 0] = 7
    found["frame"].loc[0, "a"] = 9.0
    assert found["array"][0, 0] == 7
    again = load_uses(str(tmp_path / "uses"), {"array": "", "frame": ""})
    assert again["array"][0, 0] == 0, "a change stays in the process that made it"
    files = {path.name: path.stat() for path in (tmp_path / "uses").iterdir()}
    assert set(files) == {
        "array.pickle", "array.buffers", "frame.pickle", "frame.buffers", "small.pickle",
        "sys_path.json",
    }  # fmt: skip
    assert {oct(stat.st_mode & 0o777) for stat in files.values()} == {"0o600"}
    assert files["array.pickle"].st_size < 1000, "the data is in the file that workers share"
    assert files["array.buffers"].st_size >= array.nbytes


def test_a_packed_value_is_freed_with_the_last_reference() -> None:
    class Value:
        data = np.zeros(100_000)

    value = Value()
    reference = weakref.ref(value)
    gc.disable()
    try:
        pack([value, lambda: 1], "value")
        del value
        assert reference() is None
    finally:
        gc.enable()


def test_a_read_only_array_stays_read_only(tmp_path: Path) -> None:
    array = np.zeros(100_000)
    array.flags.writeable = False
    assert not travelled(tmp_path, array=array)["array"].flags.writeable


def test_code_keeps_its_globals_classes_and_lines(tmp_path: Path) -> None:
    cell = (
        "import math\nscale = 3\nclass Point:\n    def __init__(self, x): self.x = x\n\n"
        "def helper(x):\n    return Point(scale * math.floor(x))\n\ndef score(x):\n    return helper(x)\n"
        "def fails():\n    raise ValueError('here')\n"
    )
    names = notebook(cell)
    # In a process of its own, which has never seen the cell.
    packed = pack_all({"score": names["score"], "fails": names["fails"]})
    assert packed["score"].python == f"{sys.version_info[0]}.{sys.version_info[1]}"
    write(tmp_path, packed)
    code = (
        "import sys, traceback\nfrom parallelrun_jupyter.worker.uses import load_uses\n"
        f"found = load_uses({str(tmp_path)!r}, {{'score': '%d.%d' % sys.version_info[:2], 'fails': ''}})\n"
        "print(found['score'](2.5).x, type(found['score'](1)).__module__)\n"
        "try:\n    found['fails']()\nexcept ValueError:\n    print(traceback.format_exc())\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("6 __main__\n")
    assert "/notebook\", line 12, in fails\n    raise ValueError('here')" in done.stdout
    assert "/tmp/ipykernel" not in done.stdout


def test_the_place_of_a_cell_does_not_change_when_it_runs_again() -> None:
    first = notebook("def f():\n    return 1\n", "/tmp/ipykernel_1/2.py")["f"]
    second = notebook("def f():\n    return 1\n", "/tmp/ipykernel_9/7.py")["f"]
    other = notebook("def f():\n    return 2\n", "/tmp/ipykernel_9/8.py")["f"]
    assert pack(first, "f").sources == pack(second, "f").sources
    assert pack(first, "f").stream == pack(second, "f").stream
    assert pack(other, "f").sources != pack(first, "f").sources


def test_one_pickle_is_enough_for_a_function_of_a_caller() -> None:
    double = notebook("k = 2\ndef double(x): return k * x\n")["double"]
    assert pickle.loads(dump(double, "double"))(21) == 42


CANNOT = {
    "lock": (
        "def score(x):\n    y = x\n    with lock:\n        return y\n",
        "`score` cannot travel to the workers: it uses `lock` (line 3: `with lock:`), a _thread.lock, "
        "which cannot be pickled. Make it in init(), or pass the data that it protects.",
    ),
    "file": (
        "def score(x):\n    return file.read()\n",
        "it uses `file` (line 2: `return file.read()`), an open file (TextIOWrapper), which cannot be "
        "pickled. Open it in init(), and pass its path instead.",
    ),
    "generator": (
        "def score(x):\n    return next(generator)\n",
        "it uses `generator` (line 2: `return next(generator)`), a generator, which cannot be pickled. "
        "Pass a list of its values instead.",
    ),
    "connection": (
        "def score(x):\n    return connection.execute(x)\n",
        "it uses `connection` (line 2: `return connection.execute(x)`), a sqlite3.Connection, which "
        "cannot be pickled. Connect in init(), and pass the address instead.",
    ),
    "sock": (
        "def score(x):\n    sock.send(x)\n",
        "it uses `sock` (line 2: `sock.send(x)`), a socket.socket, which cannot be pickled. Connect",
    ),
    "module_object": (
        "def score(x):\n    return module_object.digest(x)\n",
        "it uses `module_object` (line 2: `return module_object.digest(x)`), a _hashlib.HASH, which "
        "cannot be pickled (cannot pickle '_hashlib.HASH' object). Make it in init(), or pass",
    ),
    "through a helper": (
        "def inner(x):\n    with lock:\n        return x\ndef score(x):\n    return [inner(y) for y in x]\n",
        "it uses `inner` (line 5: `return [inner(y) for y in x]`), which uses `lock` (line 2: `with "
        "lock:`), a _thread.lock, which",
    ),
    "in a closure": (
        "def make(guard):\n    def score(x):\n        with guard:\n            return x\n    return score\n"
        "score = make(lock)\n",
        "`score` cannot travel to the workers: it uses `guard` (line 3: `with guard:`), a _thread.lock",
    ),
    "a default": (
        "def score(x, guard=lock):\n    return x\n",
        "it has the default value of `guard`, a _thread.lock, which cannot be pickled",
    ),
    "a lambda over a generator": (
        "score = lambda x: [x, *generator]\n",
        "it uses `generator` (line 1: `score = lambda x: [x, *generator]`), a generator, which",
    ),
    "an attribute": (
        "class Model:\n    def __init__(self): self.parts = {'a': [1, lock]}\nmodel = Model()\n"
        "def score(x):\n    return model.parts\n",
        "it uses `model` (line 5: `return model.parts`), and `model.parts['a'][1]` is a _thread.lock",
    ),
    "an item": ("score = [1, {'k': generator}]\n", "`score[1]['k']` is a generator, which cannot be"),
    "itself": ("score = lock\n", "`score` cannot travel to the workers: it is a _thread.lock, which"),
    "a method": (
        "class Model:\n    def __init__(self): self.lock = lock\n    def call(self, x): return x\n"
        "score = Model().call\n",
        "`score.__self__.lock` is a _thread.lock, which",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CANNOT)
def test_the_part_that_cannot_travel_is_named_with_its_line(case: str, tmp_path: Path) -> None:
    import hashlib

    source, message = CANNOT[case]
    with open(os.devnull, encoding="utf-8") as file, socket.socket() as sock:
        connection = sqlite3.connect(":memory:")
        names = notebook(
            source, lock=threading.Lock(), file=file, generator=(x for x in range(3)), sock=sock,
            connection=connection, module_object=hashlib.sha256(),
        )  # fmt: skip
        with pytest.raises(ConfigError) as caught:
            pack(names["score"], "score")
        connection.close()
    assert message in str(caught.value)


def test_an_object_that_refuses_gives_its_own_reason() -> None:
    class Refuses:
        def __reduce__(self) -> Any:
            msg = "not\n me"
            raise KeyError(msg)

    with pytest.raises(
        ConfigError, match=r"which cannot be pickled \('not\\n me'\)\. Make it in init"
    ):
        pack(functools.partial(print, Refuses()), "task")


def test_large_values_are_said_with_their_sizes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(by_value, "LARGE_BYTES", 1 << 20)
    pack_all({"small": np.zeros(1000)})
    with pytest.warns(UserWarning, match="are written to the run's folder") as caught:
        pack_all({"few": np.zeros(100_000), "many": np.zeros(1_000_000), "n": 1})
    assert "have 8.4 MB (many 7.6 MB, few 781 kB, n" in str(caught[0].message)
    assert "The workers of a machine share the data of arrays." in str(caught[0].message)


def test_another_interpreter_gets_plain_pickles_of_one_file(tmp_path: Path) -> None:
    packed = pack_all({"array": np.arange(100_000), "n": 3}, is_plain=True)
    assert {one.python for one in packed.values()} == {""}
    assert not packed["array"].buffers
    assert packed["array"].stream[:2] == b"\x80\x04", "protocol 4, which Python 3.7 reads"
    assert b"cloudpickle" not in packed["array"].stream


@pytest.mark.parametrize(
    ("python", "message"),
    [
        ("3.1", r"'f' is code of the notebook's Python 3.1, and the workers' interpreter .* is Python "
         r".*: functions and classes cannot be passed to another version\. Leave environment out"),
        ("{}.{}".format(*sys.version_info), r"lacks the package cloudpickle, which loads it\. Install it "
         r"there: .* -m pip install cloudpickle"),
    ],
)  # fmt: skip
def test_an_interpreter_that_cannot_load_code_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, python: str, message: str
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(BadSettings, match=message):
        load_uses(str(tmp_path), {"n": "", "f": python})


def test_a_value_of_a_missing_module_says_where_to_install_it(tmp_path: Path) -> None:
    (tmp_path / "value.pickle").write_bytes(b"cno_such_module_here\nThing\n.")
    with pytest.raises(
        BadSettings, match=r"'value', .* could not be loaded: ModuleNotFoundError: .* Ins"
    ):
        load_uses(str(tmp_path), {"value": ""})


def test_classes_of_the_notebook_become_names_of_main(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = notebook("class Only:\n    pass\nclass Given:\n    pass\nvalue = Only()\n")
    main = ModuleType("__main__")
    found = travelled(tmp_path, value=names["value"], Given=names["Given"], n=3)
    monkeypatch.setitem(sys.modules, "__main__", main)
    uses._made.append(names["Only"])
    uses.name_in_main(found)
    assert main.Given is found["Given"]
    assert main.Only is names["Only"]
    assert not hasattr(main, "n")


def test_names_must_be_names() -> None:
    with pytest.raises(
        ConfigError, match="use has the name 'a b'; expected the name of a variable"
    ):
        pack_all({"a b": 1})


# @entry


def test_an_entry_function_is_still_a_function() -> None:
    @entry
    def score(mini_batch: list[int]) -> list[int]:
        return [2 * x for x in mini_batch]

    assert score([1, 2]) == [2, 4]
    script = script_of_entry(score)
    assert script.path.name == "score_entry.py"
    assert script.title == "score"
    assert script.text is not None
    assert script.text.startswith("# Generated: calls the function score of the module tests.pure")
    assert script.text.endswith("run = _functions['run']\n")


def test_an_entry_function_has_init_and_shutdown() -> None:
    def load() -> None: ...
    def close() -> None: ...

    @entry(init=load, shutdown=close)
    def score(mini_batch: Any, context: Any) -> Any: ...

    assert script_of_entry(score).uses["_functions"] == {
        "run": score, "init": load, "shutdown": close
    }  # fmt: skip


def three(a: Any, b: Any, c: Any) -> None: ...
def one(a: Any) -> Any: ...


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: entry(three), r"three\(a, b, c\) is called with the mini-batch, or with it and its context\. "
         r"Write def run\(mini_batch\) or def run\(mini_batch, context\)\."),
        (lambda: entry(init=cast("Any", one))(one), r"one\(a\) is called without arguments\. Write a function without parameters for @entry\(init=\.\.\.\)"),
        (lambda: entry(3), "@entry was given 3 as run; expected a function. Write def run"),  # type: ignore[call-overload]
        (lambda: entry(shutdown=3), "@entry was given 3 as shutdown; expected a function"),  # type: ignore[call-overload]
    ],
)  # fmt: skip
def test_a_function_that_workers_cannot_call_is_refused(make: Any, message: str) -> None:
    with pytest.raises(EntryScriptError, match=message):
        make()


def test_the_modules_of_functions_are_those_that_they_use() -> None:
    names = notebook(
        "import json, zlib, sqlite3\nfrom pathlib import Path\nclass A: pass\n"
        "def inner(x): return [json.dumps(y) for y in x]\ndef score(x): return inner(Path(x)), A, score\n"
    )
    found = modules_of([names["score"]])
    assert "json" in found
    assert any(name.startswith("pathlib") for name in found)
    assert not {"zlib", "sqlite3", "__main__", "builtins"} & set(found)
