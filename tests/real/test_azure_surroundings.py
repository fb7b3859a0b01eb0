"""Everything that Azure gives an entry script beside its mini-batches."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from parallelrun_jupyter import ParallelRunConfig, Run, submit
from parallelrun_jupyter.engine.node.worker_process import WorkerSpec
from parallelrun_jupyter.machine import visible_gpus
from tests.conftest import SCRIPTS
from tests.real.conftest import end_of, rows_of


def test_entry_script_knows_its_surroundings(start: Callable[..., Run], tmp_path: Path) -> None:
    run = start("azure_style.py", output=tmp_path / "out", process_count_per_node=1)
    assert end_of(run) == "Completed"
    assert "INFO #- EntryScript: logged through EntryScript by process000" in run.logs(1000)
    files = sorted((run.folder.user_logs / "entry_script").glob("*.txt"))
    assert [path.name for path in files] == ["process000.txt"]
    output_dir, variable, working_dir = json.loads(files[0].read_text())
    assert output_dir == variable == str(tmp_path / "out")
    assert Path(working_dir).is_dir()
    assert rows_of(run)[:2] == ["000.txt unset", "001.txt unset"]


def test_every_worker_has_a_gpu_of_its_own_while_they_last(start: Callable[..., Run]) -> None:
    run = start(
        "azure_style.py", process_count_per_node=3,
        environment_variables={"CUDA_VISIBLE_DEVICES": "2,5"},
    )  # fmt: skip
    assert end_of(run) == "Completed"
    assert {row.partition(" ")[2] for row in rows_of(run)} <= {"2", "5", ""}


def test_a_worker_without_a_gpu_of_its_own_sees_none() -> None:
    spec = WorkerSpec("python", {"A": "1"}, Path(), {}, gpus=("2", "5"))
    seen = [spec.environ_of(slot)["CUDA_VISIBLE_DEVICES"] for slot in range(4)]
    assert seen == ["2", "5", "", ""]
    assert WorkerSpec("python", {"A": "1"}, Path(), {}).environ_of(0) == {"A": "1"}


@pytest.mark.parametrize(
    ("given", "order"),
    [
        ({}, "PCI_BUS_ID"),
        ({"CUDA_DEVICE_ORDER": "FASTEST_FIRST"}, "FASTEST_FIRST"),
        ({"CUDA_VISIBLE_DEVICES": "2,5"}, None),
    ],
)
def test_gpus_that_the_user_did_not_name_are_counted_as_nvidia_smi_counts(
    given: dict[str, str], order: str | None
) -> None:
    spec = WorkerSpec("python", given, Path(), {}, gpus=("0", "1"))
    assert spec.environ_of(1).get("CUDA_DEVICE_ORDER") == order


@pytest.mark.parametrize(
    ("given", "expected"), [("0,1", ("0", "1")), ("-1", ()), ("", ()), ("GPU-ab", ("GPU-ab",))]
)
def test_gpus_as_the_user_names_them(given: str, expected: tuple[str, ...]) -> None:
    assert visible_gpus({"CUDA_VISIBLE_DEVICES": given}) == expected


def test_gpus_as_the_kernel_shows_them(tmp_path: Path) -> None:
    assert visible_gpus({}, tmp_path) == ()
    for name in ("0000:01:00.0", "0000:02:00.0"):
        (tmp_path / "proc/driver/nvidia/gpus" / name).mkdir(parents=True)
    assert visible_gpus({}, tmp_path) == ("0", "1")


@pytest.mark.parametrize("as_source", [False, True])
def test_the_settings_file_changes_how_frames_are_written(
    tmp_path: Path, numbers: Path, as_source: bool
) -> None:
    source = tmp_path / "source"
    source.mkdir()
    shutil.copy(SCRIPTS / "azure_style.py", source)
    options = {"sep": ",", "index": True, "header": True}
    settings = {"append_row": {"pandas.DataFrame.to_csv": options}}
    (source / "parallel_run_step.settings.json").write_text(json.dumps(settings))
    if as_source:
        config = ParallelRunConfig(entry_script="azure_style.py", source_directory=str(source))
    else:
        config = ParallelRunConfig(entry_script=str(source / "azure_style.py"))
    config.mini_batch_size = 20
    run = submit(config, inputs=numbers)
    assert end_of(run) == "Completed"
    rows = rows_of(run)
    assert rows[:2] == [",name,gpu", "0,000.txt,unset"]
    assert len(rows) == 61
