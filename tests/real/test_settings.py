"""Settings of retries reach the record of a run, from everywhere that a run starts."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from IPython.core.interactiveshell import InteractiveShell
from IPython.testing.globalipapp import start_ipython

from parallelrun_jupyter import ParallelRunConfig, ParallelRunStep, Run, submit
from parallelrun_jupyter.commands.cli import main
from parallelrun_jupyter.runs.run_record import RunLimits
from tests.conftest import SCRIPTS
from tests.real.conftest import end_of

ECHO = str(SCRIPTS / "echo.py")
LINE = (
    "--no-isolate-failures --retry-delay 1.5 --retry-on ConnectionError --retry-on a.b.Busy "
    "--no-retry-on ValueError -w 1 --mini-batch-size 30"
)
CHOSEN = RunLimits(
    isolate_failures=False,
    retry_delay=1.5,
    retry_on=["ConnectionError", "a.b.Busy"],
    no_retry_on=["ValueError"],
)
DEFAULT = RunLimits(isolate_failures=True, retry_delay=0.5)


def config() -> ParallelRunConfig:
    return ParallelRunConfig(
        entry_script=ECHO,
        process_count_per_node=1,
        mini_batch_size=30,
        isolate_failures=False,
        retry_delay=1.5,
        retry_on=("ConnectionError", "a.b.Busy"),
        no_retry_on="ValueError",
    )


def from_python(numbers: Path) -> Run:
    return submit(config(), inputs=numbers)


def from_a_step(numbers: Path) -> Run:
    return submit(ParallelRunStep("step", config(), numbers))


def from_yaml(numbers: Path) -> Run:
    path = numbers.parent / "config.yml"
    config().save_to_yaml(path)
    return submit(ParallelRunConfig.load_yaml(path), inputs=numbers)


def from_a_terminal(numbers: Path) -> Run:
    assert main(["run", ECHO, "-i", str(numbers), *LINE.split(), "--detach"]) == 0
    [run] = Run.list()
    return run


def from_a_cell(numbers: Path) -> Run:
    shell = start_ipython() or InteractiveShell.instance()
    shell.run_line_magic("load_ext", "parallelrun_jupyter")
    text = "def run(mini_batch):\n    return mini_batch\n"
    shell.run_cell_magic("parallelrun", f"-i {numbers} {LINE} --as chosen", text)
    run = shell.user_ns.pop("chosen")
    assert isinstance(run, Run)
    return run


@pytest.mark.parametrize(
    "start_run", [from_python, from_a_step, from_yaml, from_a_terminal, from_a_cell]
)
def test_they_arrive_in_the_record(start_run: Callable[[Path], Run], numbers: Path) -> None:
    run = start_run(numbers)
    assert end_of(run) == "Completed"
    assert run.folder.read_record().limits == CHOSEN


def test_by_default_failures_are_isolated_after_short_delays(start: Callable[..., Run]) -> None:
    run = start("echo.py", mini_batch_size=30)
    assert end_of(run) == "Completed"
    assert run.folder.read_record().limits == DEFAULT


def test_a_wrong_setting_starts_nothing(
    numbers: Path, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--retry-on", "OSError", "--no-retry-on", "OSError"]
    assert main(["run", ECHO, "-i", str(numbers), *words]) == 2
    assert "'OSError' is in retry_on and in no_retry_on; remove it" in capsys.readouterr().err
    assert list(home.iterdir()) == []
