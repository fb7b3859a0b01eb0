"""The description of an exception: its line and its message."""

from __future__ import annotations

import argparse
import json
import optparse
import os
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parallelrun_jupyter.engine.node.worker_failure import read_stack
from parallelrun_jupyter.worker.failures import (
    MESSAGE_CHARS,
    TRACEBACK_CHARS,
    describe,
    is_under,
    line_of,
    short_result,
)

LIBRARY = """
class LibraryError(Exception): pass

def call(function):
    try:
        return function()
    except Exception as error:
        raise LibraryError("it failed") from error

def fail():
    raise LibraryError("no reason")

def in_vain():
    try:
        {}["x"]
    except KeyError:
        raise LibraryError("while another")
"""


class Project:
    """A folder with a script and, inside of it, an interpreter's packages."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        packages = folder / ".venv" / "lib" / "python3.11" / "site-packages"
        packages.mkdir(parents=True)
        self.library = self._load(packages / "library.py", LIBRARY)

    def _load(self, path: Path, text: str, **names: Any) -> dict[str, Any]:
        path.write_text(text)
        names["__name__"] = path.stem
        exec(compile(text, str(path), "exec"), names)
        return names

    def failure(self, text: str) -> dict[str, Any]:
        """Return the description of the exception that ``run()`` of a script raises."""
        run = self._load(self.folder / "score.py", text, library=self.library)["run"]
        try:
            run()
        except BaseException as error:
            return describe(error, [str(self.folder)], "run")
        pytest.fail("nothing was raised")


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    monkeypatch.chdir(tmp_path)  # as workers do; "<string>" is not a file of this folder
    return Project(tmp_path)


@pytest.mark.parametrize(
    ("text", "group"),
    [
        ("import os\ndef run():\n    os.environ['NO_SUCH_NAME']", "KeyError at score.py:3 in run"),
        ("import codecs\ndef run():\n    codecs.getincrementaldecoder('utf-8')().decode(b'\\xe9', True)",
         "UnicodeDecodeError at score.py:3 in run"),
        ("import json\ndef run():\n    json.loads('{')", "JSONDecodeError at score.py:3 in run"),
        ("def run():\n    exec('1 / 0')", "ZeroDivisionError at score.py:2 in run"),
        ("def run():\n    eval('1 +')", "SyntaxError at score.py:2 in run"),
        ("def run():\n    library['fail']()", "LibraryError at score.py:2 in run"),
        ("def run():\n    library['in_vain']()", "LibraryError at score.py:2 in run"),
        # the reason that a library gives, in the user's function that it called
        ("def one():\n    return 1 / 0\ndef run():\n    library['call'](one)",
         "LibraryError at score.py:2 in one"),
        ("import json\ndef one():\n    json.loads('{')\ndef run():\n    library['call'](one)",
         "LibraryError at score.py:3 in one"),
        # the user's own words count, whatever their reason was
        ("def one():\n    return 1 / 0\ndef run():\n    try:\n        one()\n    except Exception as e:\n"
         "        raise ValueError('bad') from e", "ValueError at score.py:7 in run"),
        ("import json\ndef run():\n    try:\n        1 / 0\n    except Exception:\n        json.loads('{')",
         "JSONDecodeError at score.py:6 in run"),
        ("def run():\n    raise KeyboardInterrupt", "KeyboardInterrupt at score.py:2 in run"),
        ("def run():\n    raise GeneratorExit", "GeneratorExit at score.py:2 in run"),
        ("import asyncio\nasync def one():\n    raise asyncio.CancelledError\ndef run():\n"
         "    asyncio.run(one())",
         # the first Python in which the traceback has the line of the coroutine
         f"CancelledError at score.py:{'3 in one' if sys.version_info >= (3, 11) else '5 in run'}"),
        ("def run():\n    return run()", "RecursionError at score.py:2 in run"),
    ],
)  # fmt: skip
def test_a_group_is_the_users_innermost_line(project: Project, text: str, group: str) -> None:
    failure = project.failure(text)
    assert failure["group"] == group
    assert failure["kind"] == "exception"
    assert "score.py" in failure["traceback"]


@pytest.mark.skipif(sys.version_info < (3, 11), reason="exception groups are of Python 3.11")
def test_a_group_of_exceptions_is_its_first_member(project: Project) -> None:
    failure = project.failure(
        "import asyncio\nasync def one(k):\n    raise ValueError('bad %d' % k)\n"
        "async def all():\n    async with asyncio.TaskGroup() as group:\n"
        "        for k in range(9):\n            group.create_task(one(k))\n"
        "def run():\n    asyncio.run(all())\n"
    )
    assert failure["group"] == "ExceptionGroup at score.py:3 in one"
    assert failure["message"].startswith(
        "unhandled errors in a TaskGroup (9 sub-exceptions): Value"
    )
    assert "ValueError: bad 0; ValueError: bad 1; ValueError: bad 2" in failure["message"]


@pytest.mark.parametrize(
    ("parser", "option"),
    [(argparse.ArgumentParser, "add_argument"), (optparse.OptionParser, "add_option")],
)
def test_what_a_parser_says_before_it_exits_is_the_message(
    parser: Any, option: str, capsys: pytest.CaptureFixture[str]
) -> None:
    made = parser(prog="score.py")
    getattr(made, option)("--top", type="int" if parser is optparse.OptionParser else int)
    with pytest.raises(SystemExit) as caught:
        made.parse_args(["--top", "three"])
    said = capsys.readouterr().err.splitlines()[-1]
    failure = describe(caught.value, [str(Path(__file__).parent)], "init")
    assert failure["message"] == f"{said} (sys.exit(2) was called)"
    assert failure["group"].startswith("SystemExit at test_failures.py:")
    assert failure["traceback"].endswith(f"SystemExit: {failure['message']}\n")


@pytest.mark.parametrize(
    ("code", "function", "message"),
    [
        (0, "run", "sys.exit(0) was called in run(); expected it to return, or to raise"),
        (None, "run", "sys.exit() was called in run(); expected"),
        (3, "import", "sys.exit(3) was called while the script was imported; expected"),
        ("no model", "init", "no model"),
    ],
)
def test_an_exit_is_said_to_be_one(code: Any, function: str, message: str) -> None:
    with pytest.raises(SystemExit) as caught:
        sys.exit(code)
    assert describe(caught.value, [], function)["message"].startswith(message)


def test_an_exit_for_a_reason_names_the_reason() -> None:
    def load() -> None:
        try:
            open("/no/such/file")  # noqa: SIM115 - it is not there
        except FileNotFoundError:
            sys.exit(1)

    with pytest.raises(SystemExit) as caught:
        load()
    message = describe(caught.value, [], "init")["message"]
    assert message.startswith("sys.exit(1) was called after FileNotFoundError: [Errno 2]")


class _Nasty(Exception):
    """An exception whose text raises another one."""

    def __init__(self, error: BaseException) -> None:
        super().__init__()
        self.error = error

    def __str__(self) -> str:
        raise self.error


class _NastyGroup(Exception):
    @property
    def exceptions(self) -> Any:
        raise KeyboardInterrupt


@pytest.mark.parametrize("inner", [ValueError(), KeyboardInterrupt(), SystemExit(3)])
def test_an_exception_without_a_text_is_described(inner: BaseException) -> None:
    failure = describe(_Nasty(inner), [], "run")
    assert failure["message"] == f"<its __str__ raised {type(inner).__name__}>"
    assert failure["group"] == "_Nasty at run()"


def test_an_exception_that_cannot_be_looked_at_is_described() -> None:
    failure = describe(_NastyGroup(), [], "run")
    assert failure["error"] == "_NastyGroup"
    assert failure["group"] == "_NastyGroup at run()"


def test_an_enormous_message_leaves_the_lines_in_place(project: Project) -> None:
    failure = project.failure("def run():\n    raise ValueError('x' * 10_000_000 + 'end')")
    assert len(failure["message"]) < MESSAGE_CHARS + 100
    assert failure["message"].endswith("xxend")
    assert len(failure["traceback"]) < TRACEBACK_CHARS + 100
    assert 'score.py", line 2, in run' in failure["traceback"]


@given(st.text(st.characters(), max_size=40))
def test_every_text_of_a_failure_can_be_written(text: str) -> None:
    failure = describe(ValueError(text), [], "run")
    for value in failure.values():
        "".join(value).encode("utf-8")
    if text == text.encode("utf-8", "replace").decode("utf-8"):
        assert failure["message"] == text
    assert json.loads(json.dumps(failure)) == failure


def test_a_file_name_that_is_no_utf8_is_shown_with_its_escape() -> None:
    name = os.fsdecode(b"caf\xe9.txt")
    failure = describe(FileNotFoundError(2, "No such file", name), [], "run")
    assert failure["message"] == "[Errno 2] No such file: 'caf\\udce9.txt'"
    assert describe(ValueError(name), [], "run")["message"] == "caf\\udce9.txt"


@pytest.mark.parametrize(
    ("name", "is_own"),
    [
        ("score.py", True),
        ("models/net.py", True),
        (".venv/lib/python3.11/site-packages/numpy/core.py", False),
        (".pyenv/versions/3.11.7/lib/python3.11/json/decoder.py", False),
        ("miniconda3/lib/python3.11/argparse.py", False),
        (".local/lib/python3.11/site-packages/torch/nn.py", False),
    ],
)
def test_an_interpreter_inside_of_the_project_is_not_the_users(
    tmp_path: Path, name: str, is_own: bool
) -> None:
    assert is_under(str(tmp_path / name), [str(tmp_path)]) is is_own
    assert is_under(str(tmp_path / name), [f"{tmp_path}/"]) is is_own
    assert not is_under(str(tmp_path / name), [f"{tmp_path}/sc"])
    dump = (
        f'Current thread 0x1 (most recent call first):\n  File "{tmp_path / name}", line 7 in f\n'
        f'  File "{tmp_path}/score.py", line 3 in run\n'
    )
    own = Path(name).name if is_own else "score.py"
    assert read_stack(dump, [str(tmp_path)])[0].startswith(own)


def test_code_without_a_file_is_not_the_users(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "near.py").touch()
    for name in ("<string>", "<frozen os>", "<attrs generated init x>", "pandas/_libs/parsers.pyx"):
        assert not is_under(name, [str(tmp_path)]), name
    assert is_under("near.py", [str(tmp_path)])
    assert is_under("/usr/src/app/score.py", ["/usr/src/app"]), "below the interpreter's prefix"


def _plain() -> None: ...


class _Callable:
    def __call__(self) -> None: ...


def test_where_a_function_begins() -> None:
    import functools

    def begins(function: Callable[..., Any]) -> str:
        lines = Path(__file__).read_text().splitlines()
        where, _, name = line_of(function).partition(" in ")
        file, _, number = where.partition(":")
        assert file == Path(__file__).name
        assert name in lines[int(number) - 1]
        return name

    @functools.wraps(_plain)
    def wrapped() -> None: ...

    assert begins(_plain) == begins(functools.partial(_plain)) == begins(wrapped) == "_plain"
    assert begins(_Callable()) == "__call__"
    assert line_of(print) == ""


@pytest.mark.parametrize(
    ("results", "items", "line", "said"),
    [
        (1, 3, "score.py:12 in run", "run() returned 1 result for 3 items at score.py:12"),
        (0, 1, "", "run() returned 0 results for 1 item"),
    ],
)
def test_the_words_for_a_short_result(results: int, items: int, line: str, said: str) -> None:
    assert short_result(results, items, line) == said


def test_the_traceback_of_a_chain_is_pythons_own(project: Project) -> None:
    text = "def one():\n    return 1 / 0\ndef run():\n    library['call'](one)"
    run = project._load(project.folder / "score.py", text, library=project.library)["run"]
    with pytest.raises(Exception, match="it failed") as caught:
        run()
    own = caught.value.with_traceback(caught.tb.tb_next)
    failure = describe(own, [str(project.folder)], "run")
    assert failure["traceback"] == "".join(traceback.format_exception(own))


def test_a_traceback_in_a_terminal_moves_no_cursor() -> None:
    from parallelrun_jupyter.client.failures import failures_text
    from parallelrun_jupyter.runs.journal.failure_groups import FailureGroup
    from tests.journals import record

    shown = (
        "Traceback (most recent call last):\n  File s.py\nValueError: \x1b[2J\x1b]0;title\x07 bad"
    )
    group = FailureGroup("ValueError at s.py:1", "exception", "ValueError", "bad", shown, 0, 1, 1)
    text = failures_text(record(), [group])
    assert "File s.py\nValueError: " in text
    assert not {c for c in text if ord(c) < 32} - {"\n"}


def test_no_frame_of_the_worker_is_the_place_of_a_failure() -> None:
    from parallelrun_jupyter.worker.tables.pandas_types import version_of

    with pytest.raises(AttributeError) as caught:
        version_of(None)
    failure = describe(caught.value, [], "run")
    assert " at test_failures.py:" in failure["group"], "not pandas_types.py, in a subfolder"
