"""Dry runs: the job in a folder, as Azure's client accepts it, with the packages that the script imports."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from IPython.core.interactiveshell import InteractiveShell
from IPython.testing.globalipapp import start_ipython

import parallelrun_jupyter as parallelrun
from parallelrun_jupyter import (
    AzureMLCompute,
    ParallelRunConfig,
    TabularDataset,
    azureml_v2,
    submit,
)
from parallelrun_jupyter.backends.azureml import job_folder
from parallelrun_jupyter.backends.azureml.job_folder import write_job
from parallelrun_jupyter.backends.azureml.job_inputs import JobInput
from parallelrun_jupyter.commands.cli import main
from parallelrun_jupyter.data.datasets.file_dataset import FileDataset
from parallelrun_jupyter.errors import ConfigError, InputError, RunFailedError
from parallelrun_jupyter.worker.plan_line import PlanLine
from tests.azure_ai_ml import AzureAiMl, python_with_azure_ai_ml
from tests.azureml_jobs import (
    call_like_azure,
    failures_of,
    read_results,
    record_for_azureml,
    rows_of,
)

SCRIPT = """
import os
import numpy as np
from PIL import Image
import sklearn.svm
def run(paths):
    return [os.path.basename(path) for path in paths]
"""
PLAIN = """
import os, sys
def run(paths):
    return ["%s %s" % (os.path.basename(path), open(path).read()) for path in paths]
"""


@pytest.fixture(scope="module")
def azure() -> Iterator[AzureAiMl]:
    python, reason = python_with_azure_ai_ml()
    if not python:
        if "CI" in os.environ:
            pytest.fail(reason)
        pytest.skip(reason)
    with closing(AzureAiMl(python)) as process:
        yield process


def config_of(tmp_path: Path, script: str = PLAIN, **settings: Any) -> ParallelRunConfig:
    path = tmp_path / "score.py"
    path.write_text(script)
    return ParallelRunConfig(entry_script=str(path), **settings)


def accepted(azure: AzureAiMl, pipeline: Path) -> dict[str, Any]:
    """Return the step as Azure's client sends it."""
    assert [str(f) for f in azureml_v2.check(str(pipeline))] == []
    reply = azure.read(pipeline)
    assert "error" not in reply, reply.get("error")
    assert reply["mistakes"] == []
    step: dict[str, Any] = reply["steps"]["run"]
    return step


def test_azures_client_accepts_the_job_with_all_settings(
    azure: AzureAiMl, numbers: Path, tmp_path: Path
) -> None:
    config = config_of(
        tmp_path, mini_batch_size=7, node_count=3, process_count_per_node=4, error_threshold=5,
        allowed_failed_count=2, run_invocation_timeout=77, run_max_try=4, logging_level="DEBUG",
        environment_variables={"MODE": "fast"}, task_overhead_timeout=99, description="counts",
    )  # fmt: skip
    model = tmp_path / "model.bin"
    model.write_text("m")
    compute = AzureMLCompute(compute="big", environment="azureml:mine@latest")
    pipeline = submit(
        config, inputs=f"{numbers}/*.txt", arguments=["--model", FileDataset(str(model))],
        compute=compute, dry_run=tmp_path / "job",
    )  # fmt: skip
    step = accepted(azure, pipeline)
    node = step["node"]
    assert node["computeId"] == "big"
    assert node["resources"]["instance_count"] == 3
    assert node["max_concurrency_per_instance"] == 4
    assert node["retry_settings"] == {"max_retries": 3, "timeout": 77}
    assert (node["error_threshold"], node["mini_batch_error_threshold"]) == (5, 2)
    assert node["mini_batch_size"] in {1, "1"}
    assert node["logging_level"] == "DEBUG"
    assert node["environment_variables"] == {"MODE": "fast"}
    assert sorted(node["inputs"]) == ["input_0", "plan", "side_0"]
    assert sorted(node["outputs"]) == ["files", "results"]
    text = json.dumps(step)
    assert "--task_overhead_timeout 99" in text
    assert "azureml:mine@latest" in text or "mine@latest" in text
    assert json.loads((tmp_path / "job/code/settings.json").read_text())["arguments"] == [
        "--model", {"side": 0},
    ]  # fmt: skip


def test_files_among_the_arguments_are_uploaded(
    numbers: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("model.bin", "tokenizer.json"):
        (tmp_path / name).write_text(name)
    words = [
        "--model",
        "model.bin",
        str(tmp_path / "tokenizer.json"),
        "model.bin",
        "missing.bin",
        "5",
    ]
    pipeline = submit(
        config_of(tmp_path), inputs=numbers, arguments=words, compute="azureml:c", dry_run="job"
    )
    settings = json.loads((tmp_path / "job" / "code" / "settings.json").read_text())
    one, two = {"side": 0}, {"side": 1}
    assert settings["arguments"] == ["--model", one, two, one, "missing.bin", "5"]
    inputs = yaml.safe_load(pipeline.read_text())["jobs"]["run"]["inputs"]
    for number, name in enumerate(("model.bin", "tokenizer.json")):
        folder = pipeline.parent / inputs[f"side_{number}"]["path"]
        assert (folder / settings["sides"][number]).read_text() == name


def test_azures_client_accepts_tables_values_and_conda_files(
    azure: AzureAiMl, tmp_path: Path
) -> None:
    (tmp_path / "a.csv").write_text("x\n1\n2\n")
    conda = tmp_path / "own.yml"
    conda.write_text("name: own\ndependencies: [python=3.11]\n")
    given: list[Any] = [
        str(conda),
        {"image": "mine.azurecr.io/x:1"},
        {"image": "i", "conda_file": str(conda)},
    ]
    for number, environment in enumerate(given):
        pipeline = submit(
            config_of(tmp_path), inputs=TabularDataset.from_delimited_files(f"{tmp_path}/a.csv"),
            compute=AzureMLCompute(environment=environment), dry_run=tmp_path / f"job{number}",
        )  # fmt: skip
        accepted(azure, pipeline)
        section = yaml.safe_load(pipeline.read_text())["jobs"]["run"]["task"]["environment"]
        assert ("conda_file" in section) == (number != 1)
        if number != 1:
            assert (pipeline.parent / section["conda_file"]).read_text() == conda.read_text()
    run = parallelrun.map(len, ["a", "bb"], error_threshold=-1)
    run.wait_for_completion()
    write_job(run.folder, record_for_azureml(run), None, tmp_path / "mapped")
    accepted(azure, tmp_path / "mapped" / "pipeline.yml")


def test_the_environment_has_what_the_script_imports_in_the_versions_here(
    numbers: Path, tmp_path: Path
) -> None:
    from importlib.metadata import version

    pipeline = submit(
        config_of(tmp_path, SCRIPT), inputs=str(numbers), compute="azureml:cpu-cluster",
        dry_run=tmp_path / "job",
    )  # fmt: skip
    conda = yaml.safe_load((pipeline.parent / "environment" / "conda.yml").read_text())
    python, pip, packages = conda["dependencies"]
    assert python == f"python={sys.version_info[0]}.{sys.version_info[1]}"
    assert pip == "pip"
    wanted = packages["pip"]
    assert f"scikit-learn=={version('scikit-learn')}" in wanted
    assert f"pillow=={version('pillow')}" in wanted
    assert sum(name.startswith("numpy") for name in wanted) == 1
    azures = ["azureml-core", "azureml-dataset-runtime[fuse]", "azureml-telemetry", "mlflow-skinny"]
    assert set(azures) <= set(wanted)
    assert len(wanted) == 7


def test_a_function_brings_the_packages_that_it_uses(tmp_path: Path) -> None:
    import numpy as np

    def norm(value: float) -> float:
        import sklearn.utils  # noqa: F401 - found in the pickle's source

        return float(np.abs(value))

    run = parallelrun.map(norm, [1.0, -2.0])
    run.wait_for_completion()
    write_job(run.folder, record_for_azureml(run), None, tmp_path / "job")
    conda = (tmp_path / "job" / "environment" / "conda.yml").read_text()
    assert "numpy" in conda
    assert (tmp_path / "job" / "code" / "packages" / "cloudpickle" / "__init__.py").exists()
    assert "cloudpickle" not in conda


def test_a_function_brings_the_modules_of_its_notebook(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "helper_of_notebook.py").write_text("def triple(value):\n    return 3 * value\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    names: dict[str, Any] = {"__name__": "__main__"}
    exec("import helper_of_notebook as h\ndef use(value):\n    return h.triple(value)", names)
    run = parallelrun.map(names["use"], [1, 2, 3])
    run.wait_for_completion()
    write_job(run.folder, record_for_azureml(run), None, tmp_path / "job")
    assert str(tmp_path) not in (tmp_path / "job/code/settings.json").read_text()
    assert not (tmp_path / "job/code/uses/sys_path.json").exists()
    (tmp_path / "helper_of_notebook.py").unlink()  # as on another machine
    call_like_azure(tmp_path / "job", tmp_path / "results")
    data = rows_of(read_results(tmp_path / "results"), "objects")
    assert data == run.folder.final_file(run.folder.read_record()).read_bytes()
    assert list(run.results()) == [3, 6, 9]


def test_dry_run_of_a_cell(
    numbers: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    shell = start_ipython() or InteractiveShell.instance()
    shell.run_line_magic("load_ext", "parallelrun_jupyter")
    line = f"-i {numbers} --mini-batch-size 30 --compute azureml:c --dry-run job"
    shell.run_cell_magic("parallelrun", line, PLAIN)
    path = tmp_path / "job" / "pipeline.yml"
    assert capsys.readouterr().out == (
        f"wrote {path}; nothing is submitted. To submit it: !az ml job create -f {path}\n"
    )
    call_like_azure(tmp_path / "job", tmp_path / "results")
    rows = rows_of(read_results(tmp_path / "results")).decode().splitlines()
    assert rows == [f"{k:03d}.txt {k}" for k in range(60)]


def test_a_dry_run_starts_nothing_and_writes_only_its_folder(
    numbers: Path, tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    config = config_of(tmp_path, mini_batch_size=25)
    output = tmp_path / "out"
    path = submit(config, inputs=str(numbers), output=output, compute="azureml:c", dry_run="job")
    assert path == tmp_path / "job" / "pipeline.yml"
    assert not output.exists()
    assert not (home / "runs").exists()
    assert len(list((tmp_path / "job" / "plan").iterdir())) == 3
    with pytest.raises(
        ConfigError, match="dry_run is 'job', which exists and is not an empty folder"
    ):
        submit(config, inputs=str(numbers), compute="azureml:c", dry_run="job")
    with pytest.raises(
        ConfigError, match="the compute is 'local'. Give one, such as compute='azureml"
    ):
        submit(config, inputs=str(numbers), dry_run="other")
    with pytest.raises(
        ConfigError, match="with update and run_duplicates_once only some of them run"
    ):
        submit(config, inputs=str(numbers), compute="azureml:c", dry_run="other", update=True)


def test_dry_run_in_the_terminal(
    numbers: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config_of(tmp_path)
    words = ["run", str(tmp_path / "score.py"), "-i", str(numbers), "--compute", "azureml:c"]
    assert main([*words, "--dry-run", str(tmp_path / "job")]) == 0
    path = tmp_path / "job" / "pipeline.yml"
    assert capsys.readouterr().out == (
        f"wrote {path}; nothing is submitted. To submit it: az ml job create -f {path}\n"
    )


@pytest.mark.parametrize("version", ["3.7.16", "3.8.18"])
def test_the_entry_script_runs_on_old_interpreters(
    version: str, numbers: Path, tmp_path: Path
) -> None:
    python = Path.home() / ".pyenv" / "versions" / version / "bin" / "python"
    if not python.exists():
        pytest.skip(f"Python {version} is not on this machine")
    pipeline = submit(
        config_of(tmp_path, mini_batch_size=25), inputs=str(numbers), compute="azureml:c",
        dry_run=tmp_path / "job",
    )  # fmt: skip
    results = tmp_path / "results"
    first, *others = call_like_azure(pipeline.parent, results, python)
    [worker] = [path.stem for path in (results / "workers").iterdir()]
    assert first == f"parallelrun worker {worker}"
    assert others == ["['00000000']", "['00000001']", "['00000002']"]
    expected = "".join(f"{k:03d}.txt {k}\n" for k in range(60)).encode()
    assert rows_of(read_results(results)) == expected


def called(tmp_path: Path, numbers: Path, script: str, **settings: Any) -> tuple[list[str], Any]:
    """Return the output of a job's entry script in a process like Azure's, and the attempts."""
    pipeline = submit(
        config_of(tmp_path, script, **settings), inputs=str(numbers), compute="azureml:c",
        dry_run=tmp_path / "job",
    )  # fmt: skip
    lines = call_like_azure(pipeline.parent, tmp_path / "results")
    return lines[1:], read_results(tmp_path / "results")


SLOW_AND_WRONG = """
import time
def run(paths):
    time.sleep(0.5)
    if paths[-1].endswith("5.txt"):
        raise ValueError("its own fault")
    return paths
"""


def test_isolation_ends_before_the_time_limit(numbers: Path, tmp_path: Path) -> None:
    lines, attempts = called(
        tmp_path, numbers, SLOW_AND_WRONG, mini_batch_size=16, run_invocation_timeout=1
    )
    assert lines.count("raised ValueError") == 2, "the exception of the script, not a timeout"
    assert {f[0]: f[2] for f in failures_of(attempts)} == {0: "ValueError at score.py:6 in run"}
    assert len(attempts[0]) == 2
    assert all(attempt.head["duration_us"] < 1_600_000 for attempt in attempts[0])
    assert len(attempts[1]) == 1


RETRIES = """
from parallelrun_jupyter import RetryAfter
def init():
    global calls
    calls = 0
def run(paths, context):
    global calls
    calls += 1
    context.spend(tokens=1000)
    print("call", calls, "of", len(paths))
    if context.minibatch_index == 0:
        raise KeyError("final")
    if context.minibatch_index == 1 and calls == 2:
        raise ConnectionError("passing")
    return [1] * len(paths)
"""


def test_only_errors_that_are_tried_again_are_raised_to_azure(
    numbers: Path, tmp_path: Path
) -> None:
    lines, attempts = called(
        tmp_path, numbers, RETRIES, mini_batch_size=20, retry_on="ConnectionError",
        isolate_failures=False, token_prices=2.0,
    )  # fmt: skip
    assert lines == [
        "call 1 of 20", "['00000000']", "call 2 of 20", "raised ConnectionError", "call 3 of 20",
        "['00000001']", "call 4 of 20", "['00000002']",
    ]  # fmt: skip
    kinds = {k: [attempt.head["reply"][0] for attempt in tries] for k, tries in attempts.items()}
    assert kinds == {0: ["failed"], 1: ["failed", "done"], 2: ["done"]}
    assert attempts[2][0].head["spent"] == [1000, 2_000_000]


def test_more_mini_batches_than_a_job_can_have(
    numbers: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job_folder, "MAX_MINI_BATCHES", 5)
    config = config_of(tmp_path, mini_batch_size=10)
    with pytest.raises(RunFailedError) as caught:
        submit(config, inputs=str(numbers), compute="azureml:c", dry_run=tmp_path / "job")
    assert str(caught.value) == (
        "the run has 6 mini-batches, and a job of Azure ML, which gets a file for each, at most 5. Choose "
        "a larger mini_batch_size, and start a new run."
    )
    assert not (tmp_path / "job" / "pipeline.yml").exists()


def test_a_run_of_this_machine_is_resumed_in_azure_only_if_it_can_be_expressed(
    numbers: Path, tmp_path: Path
) -> None:
    config = config_of(tmp_path, "def run(paths):\n    raise OSError('no')\n", rate_limit="9000/s")
    run = submit(config, inputs=str(numbers))
    run.wait_for_completion(raise_on_error=False)
    with pytest.raises(
        ConfigError, match="rate_limit is '540000/min', which a job of Azure ML cannot"
    ):
        run.resume(compute="azureml:c")


def test_names_that_a_store_cannot_have_are_refused(tmp_path: Path) -> None:
    folder = tmp_path / "odd"
    folder.mkdir()
    path = os.fsencode(folder) + b"/caf\xe9.txt"
    with open(path, "w") as file:
        file.write("x")
    with pytest.raises(InputError) as caught:
        submit(
            config_of(tmp_path), inputs=str(folder), compute="azureml:c", dry_run=tmp_path / "job"
        )
    assert "is not valid Unicode, and Azure's stores have only such names. Rename the file" in str(
        caught.value
    )


NAMES = st.text(st.characters(exclude_characters="/\0"), min_size=1, max_size=12).filter(
    lambda name: name not in {".", ".."}
)


@given(st.lists(NAMES, min_size=1, max_size=4), st.lists(NAMES, min_size=0, max_size=3))
def test_paths_survive_the_way_into_a_job(names: list[str], root: list[str]) -> None:
    folder = "/" + "/".join(root)
    path = "/".join([folder.rstrip("/"), *names])
    for input_ in (JobInput("input_0", folder), JobInput("input_0", "/elsewhere of it")):
        relative = input_.relative(path)
        assert not relative.startswith("/")
        line = PlanLine.decode(PlanLine(0, [relative], [], []).encode())
        assert line.paths == [relative]
        place = os.path.join("/mnt/input_0", *relative.split("/"))
        assert os.path.basename(place) == os.path.basename(path)
        assert place.endswith("/".join(names))
