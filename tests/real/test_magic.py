"""The cell, in IPython and in a real kernel."""

from __future__ import annotations

import json
import os
import re
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from IPython.core.completer import provisionalcompleter
from IPython.core.error import UsageError
from IPython.core.interactiveshell import InteractiveShell
from IPython.testing.globalipapp import start_ipython
from jupyter_client.manager import KernelManager, start_new_kernel

from parallelrun_jupyter import FileDataset, Run
from parallelrun_jupyter.errors import RunFailedError
from tests.real.conftest import end_of, rows_of

CELL = "import os\ndef run(mini_batch):\n    return [os.path.basename(p) for p in mini_batch]\n"


@pytest.fixture(scope="module")
def shared_shell() -> InteractiveShell:
    shell = start_ipython() or InteractiveShell.instance()
    shell.run_line_magic("load_ext", "parallelrun_jupyter")
    return shell


@pytest.fixture
def shell(shared_shell: InteractiveShell) -> Iterator[InteractiveShell]:
    yield shared_shell
    shared_shell.user_ns.pop("run", None)
    shared_shell.user_ns.pop("mine", None)


def cell(shell: InteractiveShell, line: str, text: str = CELL) -> None:
    shell.run_cell_magic("parallelrun", line, text)


def test_the_cell_is_the_entry_script(shell: InteractiveShell, numbers: Path) -> None:
    cell(shell, f'--input "{numbers}/*.txt" --mini-batch-size 5 --workers 2 --as mine')
    run = shell.user_ns["mine"]
    assert isinstance(run, Run)
    assert end_of(run) == "Completed"
    assert rows_of(run) == [f"{k:03d}.txt" for k in range(60)]
    assert (run.folder.script / "cell.py").read_text() == f"# %%parallelrun\n{CELL}"
    assert run.name == "mine on numbers/*.txt"
    assert run.folder.read_record().inputs.mini_batch_size == 5


def test_duplicates_run_once_on_request(shell: InteractiveShell, numbers: Path) -> None:
    for path in numbers.iterdir():
        path.write_text("0")
    cell(shell, f'--input "{numbers}/*.txt" --run-duplicates-once --as mine')
    run = shell.user_ns["mine"]
    assert end_of(run) == "Completed"
    assert run.snapshot()["duplicates_copied"] == run.snapshot()["items"] - 1


def test_waiting_shows_the_progress(
    shell: InteractiveShell, numbers: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cell(shell, f"-i {numbers} -w 1 --wait --output {numbers.parent / 'out'}")
    assert "Completed: 100 % · 60 of 60 items" in capsys.readouterr().out
    assert (numbers.parent / "out" / "parallel_run_step.txt").exists()


def test_a_cell_may_write_to_an_output_folder_that_is_new(
    shell: InteractiveShell, numbers: Path
) -> None:
    text = (
        "import os\ndef run(b):\n"
        "    where = os.path.join(os.environ['AZUREML_BI_OUTPUT_PATH'], os.path.basename(b[0]))\n"
        "    open(where, 'x').close()\n    return b\n"
    )
    output = numbers.parent / "new"
    words = f"-i {numbers} -w 1 --mini-batch-size 1 --output {output} --run-max-try 1"
    shell.run_cell_magic("parallelrun", f"{words} --try --as mine", text)
    run = shell.user_ns["mine"]
    assert end_of(run) == "Completed", run.snapshot()["reason"]
    assert sorted(path.name for path in output.glob("0*")) == [f"{k:03d}.txt" for k in range(60)]


def test_a_failure_that_was_waited_for_is_no_usage_error(
    shell: InteractiveShell, numbers: Path, tmp_path: Path
) -> None:
    flag = tmp_path / "mended"
    text = (
        "import os\ndef run(b):\n"
        f"    if os.path.basename(b[0]) == '004.txt' and not os.path.exists({str(flag)!r}):\n"
        "        raise ValueError('bad one')\n    return b\n"
    )
    with pytest.raises(RunFailedError, match="ValueError: bad one"):
        cell(shell, f"-i {numbers} -w 1 --mini-batch-size 1 --run-max-try 1 --wait", text)
    run = shell.user_ns["run"]
    flag.touch()
    with pytest.raises(UsageError, match="unknown option --failed-onl of %parallelrun resume"):
        shell.run_line_magic("parallelrun", "resume --failed-onl")
    shell.run_line_magic("parallelrun", "resume run")
    assert end_of(run) == "Completed"


def test_the_lines_of_failures_are_those_that_the_notebook_shows(
    shell: InteractiveShell, numbers: Path
) -> None:
    lines = ["", "", f"%%parallelrun -i {numbers} -w 1 --run-max-try 1", "", "def run(b):",
             "    raise ValueError('here')  # line 6"]  # fmt: skip
    shell.run_cell("\n".join(lines), store_history=True)
    run = shell.user_ns["run"]
    end_of(run)
    [group] = run.failure_groups()["group"]
    assert group == "ValueError at cell.py:6 in run"
    assert "# line 6" in run.failure_groups()["traceback"][0]


def test_a_cell_that_needs_the_notebooks_variables_is_told_what_to_write(
    shell: InteractiveShell, numbers: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(shell.user_ns, "threshold", 0.4375)
    monkeypatch.setitem(shell.user_ns, "js", json)
    text = "def run(b):\n    return [js.dumps(threshold) for _ in b]\n"
    with pytest.raises(UsageError) as caught:
        cell(shell, f"-i {numbers}", text)
    message = str(caught.value)
    assert (
        "cell.py uses names that are defined in the notebook, not in the cell: js (line 3), "
        "threshold" in message
    )
    assert "runs in processes of its own, which do not see the notebook's variables" in message
    assert message.endswith(
        "add --use threshold to the first line, which gives the cell their values; write 'import json "
        "as js' in the cell."
    )
    assert list(home.iterdir()) == [], "nothing was started"
    cell(shell, f"-i {numbers} -w 1 --use threshold", f"import json as js\n{text}")
    run = shell.user_ns["run"]
    assert end_of(run) == "Completed"
    assert rows_of(run) == ["0.4375"] * 60
    assert run.folder.read_record().script.uses == {"threshold": ""}
    assert "0.4375" not in run.folder.record.read_text(), "names are recorded, values are not"


def test_a_name_that_reading_does_not_find_gets_a_hint_when_it_fails(
    shell: InteractiveShell, numbers: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(shell.user_ns, "threshold", 0.5)
    text = "from math import *\ndef run(b):\n    return [threshold for _ in b]\n"
    cell(shell, f"-i {numbers} -w 1 --run-max-try 1", text)
    run = shell.user_ns["run"]
    with pytest.raises(
        RunFailedError, match="hint: The cell runs in processes of its own, which do"
    ):
        run.wait_for_completion(show_output=False)


@pytest.fixture
def main(shell: InteractiveShell, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the shell's module ``__main__``, as in a kernel."""
    monkeypatch.setitem(sys.modules, "__main__", shell.user_module)


DEFINES = """
import enum, pickle
import numpy as np
weights = np.arange(100_000.0)
class Model:
    def __init__(self, factor): self.factor = factor
    def __call__(self, x): return float(self.factor * x)
    def __repr__(self): return f"Model({self.factor})"
model = Model(3)
def scale(x):
    return model(x) * 10
"""


def test_the_cell_gets_variables_functions_and_classes_by_value(
    shell: InteractiveShell, main: None, numbers: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shell.run_cell(DEFINES)
    pickled = numbers.parent / "model.pkl"
    shell.run_cell(f"with open({str(pickled)!r}, 'wb') as file: pickle.dump(Model(8), file)")
    text = (
        "import pickle\n"
        f"with open({str(pickled)!r}, 'rb') as file: loaded = pickle.load(file)\n"
        "def run(mini_batch):\n"
        "    weights[1] += 1  # the worker's own copy\n"
        "    return [[scale(weights[1]), Model(2), loaded, pickle.loads(pickle.dumps(model)).factor]"
        " for _ in mini_batch]\n"
    )
    line = f"-i {numbers} -w 1 --mini-batch-size 60 --use weights,scale --use Model,model --try"
    cell(shell, line, text)
    run = shell.user_ns["run"]
    assert end_of(run) == "Completed", run.snapshot()["reason"]
    assert rows_of(run) == ["[60.0, Model(2), Model(8), 3]"] * 60
    assert shell.user_ns["weights"][1] == 1
    assert capsys.readouterr().out.count("run() returned 60 rows for 60 items") == 1
    [first, *_] = run.try_one(0)
    assert first[0] == 60.0
    uses = run.folder.read_record().script.uses
    assert uses["weights"] == ""
    assert uses["scale"] == uses["Model"] != ""
    for name in ("weights", "scale", "Model", "model", "pickle", "np"):
        del shell.user_ns[name]


def test_a_pickle_of_a_class_of_the_notebook_gets_a_hint(
    shell: InteractiveShell, main: None, numbers: Path, tmp_path: Path
) -> None:
    shell.run_cell(DEFINES)
    shell.run_cell(
        f"with open({str(tmp_path / 'm.pkl')!r}, 'wb') as file: pickle.dump(model, file)"
    )
    text = (
        f"import pickle\nwith open({str(tmp_path / 'm.pkl')!r}, 'rb') as file: m = pickle.load(file)\n"
        "def run(b): return b\n"
    )
    cell(shell, f"-i {numbers} -w 1 --run-max-try 1", text)
    [hint] = shell.user_ns["run"].failure_groups()["hint"] if end_of(shell.user_ns["run"]) else []
    assert "pickled where Model was defined in a notebook" in hint
    assert "Give the class with --use Model." in hint


@pytest.mark.parametrize(
    ("above", "line"),
    [
        ("%%time\n", 4),
        ("\n\n%%capture out\n%%time\n\n", 8),
        ("# one\n\n# two\n", 6),
        ("\n# one\n", 5),
    ],
)
def test_lines_are_those_of_the_notebook_also_below_comments_and_other_magics(
    shell: InteractiveShell, numbers: Path, above: str, line: int
) -> None:
    magic = f"%%parallelrun -i {numbers} -w 1 --run-max-try 1"
    text = f"{above}{magic}\ndef run(b):\n    raise ValueError\n"
    assert text.splitlines()[line - 1] == "    raise ValueError"
    shell.run_cell(text, store_history=True)
    run = shell.user_ns["run"]
    end_of(run)
    assert list(run.failure_groups()["group"]) == [f"ValueError at cell.py:{line} in run"]


def test_a_magic_below_code_says_where_it_belongs(
    shell: InteractiveShell, numbers: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shell.run_cell(f"x = 1\n%%parallelrun -i {numbers}\n{CELL}")
    assert "%%parallelrun is not in the first line of its cell" in capsys.readouterr().err
    assert "run" not in shell.user_ns


def test_a_cell_with_a_source_directory_gets_the_folder(
    shell: InteractiveShell, numbers: Path, tmp_path: Path
) -> None:
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "near.py").write_text("VALUE = 7\n")
    text = "import near\ndef run(b): return [near.VALUE for _ in b]\n"
    cell(shell, f"-i {numbers} -w 1 --source-directory {tmp_path / 'source'}", text)
    assert end_of(shell.user_ns["run"]) == "Completed"
    assert rows_of(shell.user_ns["run"]) == ["7"] * 60


def test_the_lines_for_fingers(
    shell: InteractiveShell, numbers: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(UsageError, match="there are no runs yet; start one with %%parallelrun"):
        shell.run_line_magic("parallelrun", "logs")
    text = "import time\ndef run(b):\n    print('hello'); time.sleep(1)\n    return b\n"
    cell(shell, f"-i {numbers} -w 1 --mini-batch-size 1", text)
    run = shell.user_ns["run"]
    while "hello" not in run.logs():
        time.sleep(0.05)
    for line in ("list", "show", "show run", "logs run", f"cancel {run.run_id}"):
        shell.run_line_magic("parallelrun", line)
    assert end_of(run) == "Canceled"
    shown = capsys.readouterr().out
    assert shown.count(f"Run('{run.run_id}'") == 2
    assert re.search(rf"{run.run_id}  cell on \S+  +(Planning|Running)  .* items", shown)
    assert "STDOUT #0 hello" in shown
    assert f"canceling run {run.run_id}" in shown


@pytest.mark.parametrize(
    ("line", "text", "message"),
    [
        ("", CELL, "--input is missing; write, for example, --input 'digits/*.png'."),
        ("-i {n} --worker 2", CELL,
         "unknown option --worker of %%parallelrun. Did you mean '--workers'? %%parallelrun? shows"),
        ("-i {n}", "x = 1", r"cell.py defines no function run(mini_batch). Write: def run"),
        ("-i {n}", "def run(b):\n  retrun b", "cell.py, line 3: invalid syntax"),
        ("-i {n} \\", " -w 1 \\\n --as x\n" + CELL, "the line ends in a backslash, but a magic cannot "
         "continue on the next line: write all options on one line: %%parallelrun -i "),
        ("-i {n} \\", " -w 1 \\\n --as x\n" + CELL, " -w 1 --as x"),
        ("-i {n}", "%matplotlib inline\n" + CELL, "line 2: invalid syntax: %matplotlib inline. "
         "%matplotlib is a command of IPython"),
        ("-i {n}", "def run(b):\n  x = !ls\n  return b", "x = !ls. !ls is a command of IPython"),
        ("-i {n}", "pip install numpy\n" + CELL, "pip is a command of IPython"),
        ("-i {n}/*.png", CELL, "matches no file; "),
        ("-i {n} --error-threshold=-5", CELL,
         "error_threshold is -5; expected a whole number from -1."),
        ("-i {n} --as 2x", CELL, "--as is '2x'; expected the name of a variable, such as 'run'."),
        ("-i '{n}", CELL, "could not be split into words (No closing quotation); close every quote"),
        ("-i {n} --source-directory /none", CELL, "'/none', which is not a folder"),
        ("-i {n} --use treshold", CELL, "--use is 'treshold': the notebook has no variable of that name. "
         "Did you mean 'threshold'? Write the names of variables, separated by commas, such as"),
        ("-i {n} --use threshold,stream", CELL, "`stream` cannot travel to the workers: it is a generator"),
        ("-i {n}", "ip = get_ipython()\n" + CELL, "remove get_ipython, which exists in notebooks only"),
        ("-i {n} --compute moon", CELL, "compute_target is 'moon'; expected 'local'"),
        ("-i {n} --mini-batch-size 1KB", CELL, "file inputs are counted in files"),
    ],
)  # fmt: skip
def test_mistakes_are_one_line_and_start_nothing(
    shell: InteractiveShell, numbers: Path, home: Path, line: str, text: str, message: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setitem(shell.user_ns, "threshold", 0.5)
    monkeypatch.setitem(shell.user_ns, "stream", (x for x in [1]))
    with pytest.raises(UsageError) as caught:
        cell(shell, line.replace("{n}", str(numbers)), text)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert list(home.iterdir()) == []


def test_help_shows_every_option_with_examples(shell: InteractiveShell) -> None:
    from parallelrun_jupyter.config.run_config import field_names

    info = shell.object_inspect("%%parallelrun")
    assert info["found"]
    for name in set(field_names()) - {"entry_script", "compute_target"}:
        assert "--" + name.replace("_", "-") in info["docstring"]
    assert 'parallelrun --input "digits/*.png"' in info["docstring"]


@pytest.mark.parametrize(
    ("line", "expected", "absent"),
    [
        ("%%parallelrun --mini", {"--mini-batch-size"}, {"--workers"}),
        ("%%parallelrun --input x --w", {"--workers", "--wait"}, {"--mini-batch-size"}),
        ("%%parallelrun --output-action ", {"append_row", "summary_only"}, {"--workers"}),
        ("%%parallelrun --logging-level D", {"DEBUG"}, {"INFO"}),
        ("%%parallelrun -i x --re", {"--retry-on", "--retry-delay"}, {"--no-retry-on"}),
        (
            "%%parallelrun --no",
            {"--no-isolate-failures", "--no-retry-on", "--no-missing"},
            {"--name"},
        ),
        ("%%parallelrun --us", {"--use"}, {"--update"}),
        ("%%parallelrun --iso", {"--isolate-failures"}, {"--no-isolate-failures"}),
        ("%parallelrun c", {"cancel"}, {"list"}),
    ],
)
def test_options_complete_on_tab(
    shell: InteractiveShell, line: str, expected: set[str], absent: set[str]
) -> None:
    with provisionalcompleter():
        found = {c.text for c in shell.Completer.completions(line, len(line))}
    assert expected <= found, found
    assert not absent & found


@pytest.fixture
def songs(shell: InteractiveShell, numbers: Path) -> Iterator[FileDataset]:
    """Return a dataset that the notebook's variable ``songs`` holds."""
    shell.user_ns["songs"] = FileDataset(numbers, partition_format="{tens}*.txt")
    yield shell.user_ns["songs"]
    del shell.user_ns["songs"]


def test_a_variable_that_holds_a_dataset_is_an_input(
    shell: InteractiveShell, songs: FileDataset, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    text = "def run(mini_batch, context):\n    return [context.minibatch_index] * len(mini_batch)\n"
    cell(shell, "--input songs --partition-keys tens --try", text)
    run = shell.user_ns["run"]
    assert end_of(run) == "Completed"
    assert rows_of(run) == ["0"] * 60, "the first key takes as little as it can: the leading 0"
    assert run.folder.read_record().inputs.datasets == [songs.spec()]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("-i songs -i numbers", "--input is 'songs', which is a path in this folder and also a variable with "
         "FileDataset('"),
        ("-i songs --format csv", "is a path in this folder and also a variable"),
        ("-i song", "there is neither such a file nor a variable of that name"),
        ("-i text", "--input is 'text': there is no such file, and the variable of that name is a "
         "str, not a dataset. Write text = FileDataset(...) first, or {text} for a path in it."),
        ("-i numbers --format xml", "invalid choice: 'xml'"),
    ],
)  # fmt: skip
def test_names_that_could_be_meant_otherwise_are_refused(
    shell: InteractiveShell, songs: FileDataset, monkeypatch: pytest.MonkeyPatch, tmp_path: Path,
    line: str, message: str,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(shell.user_ns, "text", "numbers/*.txt")
    (tmp_path / "songs").mkdir()
    with pytest.raises(UsageError) as caught:
        cell(shell, line)
    assert message in str(caught.value)
    (tmp_path / "songs").rmdir()
    with pytest.raises(UsageError, match="which already defines its format. Omit --format"):
        cell(shell, "-i songs --format csv")


def test_a_format_makes_a_path_a_table_and_datasets_and_paths_complete(
    shell: InteractiveShell, songs: FileDataset, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "some.csv").write_text("a,b\n1,x\n2,y\n")
    line = "-i some.csv --format csv --column-types a=float --no-missing"
    cell(shell, line, "def run(frame):\n    return list(frame.a + 1)\n")
    run = shell.user_ns["run"]
    assert end_of(run) == "Completed"
    assert rows_of(run) == ["2.0", "3.0"]
    with provisionalcompleter():
        for line, expected in [
            ("%%parallelrun --input so", {"songs", "some.csv"}), ("%%parallelrun -i num", {"numbers/"}),
            ("%%parallelrun --format ", {"csv", "parquet", "jsonl"}),
            ("%%parallelrun -i x --use so", {"songs"}), ("%%parallelrun --use shell,so", {"songs"}),
        ]:  # fmt: skip
            found = {c.text for c in shell.Completer.completions(line, len(line))}
            assert expected <= found, line


@pytest.fixture
def kernel(home: Path, tmp_path: Path) -> Iterator[tuple[KernelManager, Any]]:
    manager, client = start_new_kernel(
        kernel_name="python3", cwd=str(tmp_path), startup_timeout=60, env=dict(os.environ)
    )
    yield manager, client
    client.stop_channels()
    if manager.is_alive():
        manager.shutdown_kernel(now=True)
    manager.cleanup_resources()


ENTRY = [
    "import parallelrun_jupyter as parallelrun\nfactor = 2\ndef helper(name):\n    return factor * int(name)",
    """

import os
from pathlib import Path
def load():
    global bias
    bias = 1000
@parallelrun.entry(init=load)
def score(mini_batch):
    if FLAG:
        raise ValueError("here")
    return [helper(Path(path).stem) + bias for path in mini_batch]
FLAG = os.path.exists("fails")""",
    "config = parallelrun.ParallelRunConfig(entry_script=score, process_count_per_node=2, run_max_try=1)\n"
    "run = parallelrun.submit(config, inputs={numbers!r})\nrun.wait_for_completion(raise_on_error=False)",
]


@pytest.mark.parametrize("fails", [False, True])
def test_a_function_of_a_notebook_is_an_entry_script(
    kernel: tuple[KernelManager, Any], numbers: Path, tmp_path: Path, fails: bool
) -> None:
    _, client = kernel
    if fails:
        (tmp_path / "fails").touch()
    for text in ENTRY:
        reply = client.execute_interactive(
            text.replace("{numbers!r}", repr(str(numbers))), timeout=60
        )
        assert reply["content"]["status"] == "ok", reply["content"]
    [run] = Run.list()
    assert run.name == "score on numbers"
    if not fails:
        assert rows_of(run) == [str(2 * k + 1000) for k in range(60)]
        assert (
            "calls the function score of the notebook"
            in (run.folder.script / "score_entry.py").read_text()
        )
        return
    [group] = set(run.failure_groups()["group"])
    assert group == "ValueError at notebook:11 in score"
    shown = run.failure_groups()["traceback"][0]
    assert 'raise ValueError("here")' in shown
    assert "ipykernel" not in shown


def outputs(client: Any, message_ids: set[str], seconds: float) -> Iterator[tuple[str, str]]:
    """Yield the (type, text) of each output of the requests within these seconds."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        try:
            message = client.get_iopub_msg(timeout=0.2)
        except Exception:
            continue
        content = message["content"]
        if message["parent_header"].get("msg_id") not in message_ids:
            continue
        if message["msg_type"] in {"display_data", "update_display_data"}:
            yield message["msg_type"], content["data"]["text/plain"]
        elif message["msg_type"] == "error":
            yield "error", "\n".join(content["traceback"])
        elif message["msg_type"] == "stream":
            yield "stream", content["text"]


SLOW_CELL = (
    "%%parallelrun --input {numbers} --mini-batch-size 1 --workers 2\n"
    "import time\ndef run(b):\n    time.sleep(0.2)\n    return ['row'] * len(b)\n"
)


def test_a_run_is_live_in_a_busy_kernel_and_outlives_it(
    kernel: tuple[KernelManager, Any], numbers: Path, home: Path
) -> None:
    manager, client = kernel
    client.execute("%load_ext parallelrun_jupyter")
    shown = client.execute(SLOW_CELL.format(numbers=numbers))
    busy = client.execute("import time; time.sleep(30)")  # the kernel is busy from here on
    done: list[int] = []
    for _, view in outputs(client, {shown, busy}, 28):
        if "items" in view:
            done.append(int(view.splitlines()[1].split("%")[1].split()[0]))
        if len(set(done)) >= 2 and done[-1] > 0:
            break  # what is saved is refreshed at the milestones, while another cell runs
    assert len(set(done)) >= 2, done
    assert 0 < done[-1] < 60
    provisioner: Any = manager.provisioner
    os.kill(provisioner.pid, signal.SIGKILL)
    [run] = Run.list()
    assert run.status == "Running"
    assert end_of(run) == "Completed"
    assert rows_of(run) == ["row"] * 60


def test_waiting_in_a_notebook_updates_one_output_and_ctrl_c_ends_only_the_watching(
    kernel: tuple[KernelManager, Any], numbers: Path
) -> None:
    manager, client = kernel
    client.execute("%load_ext parallelrun_jupyter")
    client.execute(SLOW_CELL.format(numbers=numbers))
    waiting = client.execute("run.wait_for_completion(show_output=True)")
    found = []
    for output in outputs(client, {waiting}, 20):
        found.append(output)
        if len(found) >= 3:
            break
    kinds = [kind for kind, _ in found]
    assert kinds == ["display_data", "update_display_data", "update_display_data"]
    assert "Running" in found[-1][1] or "Planning" in found[-1][1]
    manager.interrupt_kernel()
    late = outputs(client, {waiting}, 20)
    assert any("stopped watching; run" in text for kind, text in late if kind == "stream")
    [run] = Run.list()
    assert run.status == "Running"
    assert end_of(run) == "Completed"


def test_the_first_mini_batch_can_be_tried_in_the_kernel(
    shell: InteractiveShell, numbers: Path, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = "def run(mini_batch):\n    return [1 / 0 for path in mini_batch]\n"
    with pytest.raises(ZeroDivisionError):
        cell(shell, f"-i {numbers} --try", broken)
    assert list(home.iterdir()) == [], "nothing was started"
    cell(shell, f"-i {numbers} -w 1 --mini-batch-size 4 --try")
    assert "run() returned 4 rows for 4 items" in capsys.readouterr().out
    assert end_of(shell.user_ns["run"]) == "Completed"
    shell.run_line_magic("parallelrun", "try 2")
    assert shell.user_ns["_"] == ["008.txt", "009.txt", "010.txt", "011.txt"]
    with pytest.raises(UsageError, match="name a mini-batch: %parallelrun try 17"):
        shell.run_line_magic("parallelrun", "try")


def test_runs_are_compared_and_pruned(
    shell: InteractiveShell, numbers: Path, capsys: pytest.CaptureFixture[str], home: Path
) -> None:
    cell(shell, f"-i {numbers} --mini-batch-size 30 --as mine")
    cell(shell, f"-i {numbers} --mini-batch-size 20")
    mine, run = shell.user_ns["mine"], shell.user_ns["run"]
    assert {end_of(mine), end_of(run)} == {"Completed"}
    capsys.readouterr()
    shell.run_line_magic("parallelrun", f"compare run {mine.run_id}")
    shown = capsys.readouterr().out
    assert re.search(r"mini_batch_size +20 +30", shown)
    assert "items: 60 same: all rows are the same" in shown
    with pytest.raises(UsageError, match="name two runs, by their variables or ids"):
        shell.run_line_magic("parallelrun", "compare run")
    shell.run_line_magic("parallelrun", "prune --keep 1")
    assert "nothing was removed: add --yes" in capsys.readouterr().out
    with pytest.raises(UsageError, match="older_than is '3x'; expected an age such as 12h"):
        shell.run_line_magic("parallelrun", "prune --older-than 3x")
    shell.run_line_magic("parallelrun", "prune --keep 1 --yes")
    assert "removed 1 run" in capsys.readouterr().out
    assert [path.name for path in (home / "runs").iterdir()] == [run.run_id]
    shell.run_line_magic("parallelrun", "config max-size 5GB")
    assert "max-size: 5.0 GB" in capsys.readouterr().out
