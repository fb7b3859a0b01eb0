"""Pipelines with Azure's names: failures, cancel, reuse, inputs and outputs, publishing."""

from __future__ import annotations

import contextlib
import http.client
import importlib
import json
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from parallelrun_jupyter import Run, azureml
from parallelrun_jupyter.errors import RunFolderError
from tests.real.dask_processes import DaskProcesses
from tests.real.jupyter_process import TOKEN, Jupyter

SCORE = """
import os
def run(mini_batch):
    return ["%s %s" % (os.path.basename(p), open(p).read()) for p in mini_batch]
"""


@pytest.fixture(autouse=True)
def layer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    assert azureml.install()
    yield
    azureml.uninstall()


@pytest.fixture
def ws() -> Any:
    return make_workspace()


def make_workspace() -> Any:
    workspace = importlib.import_module("azureml.core").Workspace.from_config()
    compute = importlib.import_module("azureml.core.compute")
    config = compute.AmlCompute.provisioning_configuration(max_nodes=2)
    compute.ComputeTarget.create(workspace, "cpu", config)
    return workspace


def parallel(ws: Any, inputs: list[Any], script: str = SCORE, **changes: Any) -> Any:
    """Return a step over files with a script of this text."""
    from azureml.core import Environment
    from azureml.pipeline.core import PipelineData
    from azureml.pipeline.steps import ParallelRunConfig, ParallelRunStep

    of_config = set(ParallelRunConfig.__init__.__code__.co_varnames)
    settings = {k: v for k, v in changes.items() if k in of_config}
    source = Path("source")
    source.mkdir(exist_ok=True)
    (source / "score.py").write_text(script)
    if "partition_keys" not in settings:
        settings.setdefault("mini_batch_size", 2)
    config = ParallelRunConfig(
        **{
            "environment": Environment("e"), "entry_script": "score.py", "error_threshold": 0,
            "source_directory": "source", "output_action": "append_row", "compute_target": "cpu",
            "node_count": 1, "process_count_per_node": 2, **settings,
        }
    )  # fmt: skip
    others = {k: v for k, v in changes.items() if k not in of_config}
    return ParallelRunStep(
        **{
            "name": "predict", "parallel_run_config": config, "inputs": inputs,
            "output": PipelineData("rows"), "allow_reuse": False, **others,
        }
    )  # fmt: skip


def files(ws: Any, count: int = 5) -> Any:
    """Upload a number of files to the default datastore; return them as a dataset."""
    from azureml.core import Dataset

    folder = Path("in")
    folder.mkdir(exist_ok=True)
    for number in range(count):
        (folder / f"{number}.txt").write_text(str(number))
    store = ws.get_default_datastore()
    store.upload("in", "numbers", overwrite=True, show_progress=False)
    return Dataset.File.from_files((store, "numbers/*.txt"))


def submit(ws: Any, *steps: Any, **how: Any) -> Any:
    from azureml.core import Experiment
    from azureml.pipeline.core import Pipeline

    return Experiment(ws, "tests").submit(Pipeline(ws, list(steps)), **how)


def rows_of(step_run: Any, name: str = "rows") -> list[str]:
    output = step_run.get_output_data(name)
    output.download("got", overwrite=True)
    path = Path("got", output.path_on_datastore, "parallel_run_step.txt")
    return path.read_text().splitlines()


def test_the_error_of_a_failed_step_starts_with_the_users_exception(ws: Any) -> None:
    from azureml.exceptions import ActivityFailedException

    broken = "def run(mini_batch):\n    raise ZeroDivisionError('by my own fault')\n"
    step = parallel(ws, [files(ws).as_named_input("n")], broken, run_max_try=1)
    run = submit(ws, step)
    with pytest.raises(ActivityFailedException) as failure:
        run.wait_for_completion(show_output=True)
    said = str(failure.value)
    assert said.index("by my own fault") < said.index("pipeline run")
    assert "score.py:2" in said
    assert run.get_status() == "Failed"
    (step_run,) = run.find_step_run("predict")
    assert len(step_run.native().failures())
    assert run.wait_for_completion(show_output=False, raise_on_error=False) == "Failed"


def test_a_failed_script_ends_the_pipeline_unless_independent_steps_may_continue(
    ws: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from azureml.pipeline.steps import PythonScriptStep

    monkeypatch.setenv("PARALLELRUN_STEPS", "1")  # the second would start beside the first
    Path("bad.py").write_text("raise RuntimeError('no luck')")
    Path("good.py").write_text("print('went well')")
    bad, good = PythonScriptStep("bad.py"), PythonScriptStep("good.py")
    run = submit(ws, bad, good)
    assert run.wait_for_completion(show_output=False, raise_on_error=False) == "Failed"
    assert "no luck" in run.get_details()["error"]["message"]
    assert run.find_step_run("good")[0].state().state == "Skipped"
    again = submit(ws, bad, good, continue_on_step_failure=True)
    again.wait_for_completion(show_output=False, raise_on_error=False)
    assert again.find_step_run("good")[0].get_status() == "Completed"
    assert "went well" in again.find_step_run("good")[0].get_job_log()


def test_a_mini_batch_fails_as_a_whole_and_is_retried_at_once_as_in_azure(ws: Any) -> None:
    script = (
        "def run(mini_batch):\n"
        "    if any(path.endswith('2.txt') for path in mini_batch):\n"
        "        raise ValueError('two')\n"
        "    return mini_batch\n"
    )
    step = parallel(ws, [files(ws).as_named_input("n")], script, error_threshold=2)
    run = submit(ws, step)
    assert run.wait_for_completion(show_output=False, raise_on_error=False) == "Finished"
    native = run.find_step_run("predict")[0].native()
    limits = native.folder.read_record().limits
    assert (limits.isolate_failures, limits.retry_delay) == (False, 0)
    assert (limits.retry_on, limits.no_retry_on) == ([], [])
    assert json.loads(native.folder.record.read_text())["limits"]["isolate_failures"] is False
    attempts = native.failures()
    assert list(attempts["mini_batch"]) == [1, 1, 1]
    assert list(attempts["items"]) == [2, 2, 2], (
        "the good item of the mini-batch fails with the bad"
    )
    assert native.snapshot()["items_failed"] == 2


@pytest.mark.parametrize("kind", ["parallel", "script"])
def test_a_pipeline_is_canceled(ws: Any, kind: str) -> None:
    from azureml.pipeline.steps import PythonScriptStep

    if kind == "parallel":
        slow = "import time\ndef run(mini_batch):\n    time.sleep(60)\n    return mini_batch\n"
        step = parallel(ws, [files(ws).as_named_input("n")], slow)
    else:
        Path("slow.py").write_text("import time\ntime.sleep(60)")
        step = PythonScriptStep("slow.py")
    run = submit(ws, step)
    until = time.monotonic() + 30
    while run.get_steps()[0].get_status() != "Running" and time.monotonic() < until:
        time.sleep(0.1)
    run.cancel()
    assert run.wait_for_completion(show_output=False, timeout_seconds=30) == "Canceled"
    assert run.get_steps()[0].get_status() == "Canceled"


def test_reuse_sees_changed_data(ws: Any) -> None:
    dataset = files(ws).as_named_input("n")
    runs = []
    for _ in range(2):
        runs.append(submit(ws, parallel(ws, [dataset], allow_reuse=True)))
        runs[-1].wait_for_completion(show_output=False)
    first, second = (run.find_step_run("predict")[0] for run in runs)
    assert (first.is_reused, second.is_reused) == (False, True)
    assert rows_of(second) == rows_of(first) == [f"{n}.txt {n}" for n in range(5)]
    assert "reused" in runs[1]._repr_html_()
    Path("in/0.txt").write_text("100")
    ws.get_default_datastore().upload("in", "numbers", overwrite=True)
    third = submit(ws, parallel(ws, [dataset], allow_reuse=True))
    third.wait_for_completion(show_output=False)
    (step_run,) = third.find_step_run("predict")
    assert not step_run.is_reused
    assert rows_of(step_run)[0] == "0.txt 100"
    forced = submit(ws, parallel(ws, [dataset], allow_reuse=True), regenerate_outputs=True)
    forced.wait_for_completion(show_output=False)
    assert not forced.find_step_run("predict")[0].is_reused


def test_the_run_of_a_step_can_be_removed_once_its_pipeline_has_ended(ws: Any) -> None:
    dataset = files(ws).as_named_input("n")
    run = submit(ws, parallel(ws, [dataset], allow_reuse=True))
    run.wait_for_completion(show_output=False)
    (step_run,) = run.find_step_run("predict")
    assert any(name.startswith("logs/") for name in step_run.get_file_names())
    finished = run.folder.journal.read_text()
    strike(run.folder.journal, "PipelineFinished")  # as if the pipeline could be resumed
    with pytest.raises(RunFolderError, match=f"pipeline run {run.id} uses it and has not ended"):
        step_run.native().delete()
    run.folder.journal.write_text(finished)
    step_run.native().delete()
    assert step_run.get_file_names() == []
    assert step_run.get_details()["status"] == "Completed"
    assert rows_of(step_run) == [f"{n}.txt {n}" for n in range(5)]  # the output is elsewhere
    assert "predict" in run._repr_html_()
    again = submit(ws, parallel(ws, [dataset], allow_reuse=True))
    again.wait_for_completion(show_output=False)
    assert again.find_step_run("predict")[0].is_reused


def test_partition_keys_of_an_earlier_steps_output(ws: Any) -> None:
    from azureml.data import OutputFileDatasetConfig
    from azureml.pipeline.steps import PythonScriptStep

    Path("write.py").write_text(
        "import os, sys\n"
        "for user, name in (('ann', 'a'), ('ann', 'b'), ('bob', 'a')):\n"
        "    os.makedirs(os.path.join(sys.argv[1], user), exist_ok=True)\n"
        "    open(os.path.join(sys.argv[1], user, name + '.txt'), 'w').write(name)\n"
    )
    written = OutputFileDatasetConfig("written", partition_format="{user}/{name}.txt")
    first = PythonScriptStep("write.py", arguments=[written])
    script = "def run(mini_batch, context):\n    return ['%s %d' % (context.partition_key_value['user'], len(mini_batch))]\n"
    step = parallel(
        ws, [written.as_input("w")], script, partition_keys=["user"], error_threshold=-1
    )
    run = submit(ws, step)
    run.wait_for_completion(show_output=False)
    assert [one.name for one in run.get_steps()] == [first.name, "predict"]
    assert rows_of(run.find_step_run("predict")[0]) == ["ann 2", "bob 1"]


def test_side_inputs_are_paths_in_any_datastore(ws: Any, tmp_path: Path) -> None:
    from azureml.core import Dataset

    Path("labels").mkdir()
    Path("labels/labels.txt").write_text("zero one two")
    store = ws.get_default_datastore()
    store.upload("labels", "labels", show_progress=False)
    place = str(tmp_path / "mounted" / "labels")
    labels = Dataset.File.from_files((store, "labels")).as_named_input("labels").as_mount(place)
    script = """
import argparse, os
def init():
    global words
    parser = argparse.ArgumentParser()
    parser.add_argument("--labels")
    args, _ = parser.parse_known_args()
    assert args.labels == PLACE
    words = open(os.path.join(args.labels, "labels.txt")).read().split()
def run(mini_batch):
    return [words[int(open(p).read())] for p in mini_batch]
""".replace("PLACE", repr(place))
    step = parallel(
        ws, [files(ws, 3).as_named_input("n")], script, side_inputs=[labels],
        arguments=["--labels", labels],
    )  # fmt: skip
    run = submit(ws, step)
    run.wait_for_completion(show_output=False)
    assert rows_of(run.find_step_run("predict")[0]) == ["zero", "one", "two"]


def test_timeouts_among_the_arguments_are_settings(ws: Any) -> None:
    arguments = ["--first_task_creation_timeout", "518400", "--task_overhead_timeout=90"]
    step = parallel(ws, [files(ws).as_named_input("n")], arguments=arguments)
    run = submit(ws, step)
    run.wait_for_completion(show_output=False)
    record = run.find_step_run("predict")[0].native().folder.read_record()
    assert record.limits.first_task_creation_timeout == 518_400
    assert record.limits.task_overhead_timeout == 90
    assert record.script.arguments[-3:] == arguments


def test_a_killed_driver_makes_the_pipeline_interrupted(ws: Any) -> None:
    from azureml.exceptions import ActivityFailedException
    from azureml.pipeline.steps import PythonScriptStep

    Path("slow.py").write_text("import time\ntime.sleep(60)")
    run = submit(ws, PythonScriptStep("slow.py"))
    until = time.monotonic() + 30
    while run.get_steps()[0].get_status() != "Running" and time.monotonic() < until:
        time.sleep(0.05)
    os.kill(json.loads(run.folder.driver.read_text())["pid"], signal.SIGKILL)
    with pytest.raises(ActivityFailedException, match="its driver process has ended"):
        run.wait_for_completion(show_output=False, timeout_seconds=30)
    assert run.get_status() == "Interrupted"


def test_scripts_open_datasets_and_log_metrics_and_files(ws: Any) -> None:
    from azureml.pipeline.steps import PythonScriptStep

    files(ws).register(ws, "numbers")
    Path("table.csv").write_text("a,b\n1,2\n3,4\n")
    from azureml.core import Dataset

    Dataset.Tabular.from_delimited_files("table.csv").register(ws, "table")
    Path("look.py").write_text(
        "from azureml.core import Dataset, Model, Run\n"
        "from azureml_user.parallel_run import EntryScript\n"
        "run = Run.get_context()\n"
        "ws = run.experiment.workspace\n"
        "files = Dataset.get_by_name(ws, 'numbers').download('copy')\n"
        "run.log('files', len(files))\n"
        "run.log('sum', Dataset.get_by_name(ws, 'table').to_pandas_dataframe().sum().sum())\n"
        "run.upload_file('notes.txt', files[0])\n"
        "model = Model.register(ws, files[3], 'fromstep')\n"
        "print('registered', model.version, run.parent.id)\n"
    )
    run = submit(ws, PythonScriptStep("look.py", allow_reuse=False))
    run.wait_for_completion(show_output=False)
    (step_run,) = run.find_step_run("look")
    assert step_run.get_metrics() == {"files": 5, "sum": 10}
    assert "notes.txt" in step_run.get_file_names()
    step_run.download_file("notes.txt", "kept.txt")
    assert Path("kept.txt").read_text() == "0"
    assert ws.models["fromstep"].version == 1
    assert f"registered 1 {run.id}" in step_run.get_job_log()


def ask(server: Jupyter, path: str, body: object, token: str | None) -> tuple[int, Any]:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    headers = {} if token is None else {"Authorization": f"token {token}"}
    connection.request("POST", path, json.dumps(body), headers)
    response = connection.getresponse()
    text = response.read()
    connection.close()
    return response.status, json.loads(text)


def test_a_published_pipeline_is_started_over_http(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    from azureml.core.authentication import InteractiveLoginAuthentication
    from azureml.pipeline.core import PipelineParameter
    from azureml.pipeline.core.run import PipelineRun

    script = """
import argparse
def init():
    global add
    parser = argparse.ArgumentParser()
    parser.add_argument("--add", type=int)
    add = parser.parse_known_args()[0].add
def run(mini_batch):
    return [int(open(p).read()) + add for p in mini_batch]
"""
    server = Jupyter(tmp_path_factory.mktemp("server"), "server")
    monkeypatch.setenv("PARALLELRUN_HOME", str(server.home))
    ws = make_workspace()
    step = parallel(
        ws, [files(ws).as_named_input("n")], script,
        arguments=["--add", PipelineParameter("add", 1)],
    )  # fmt: skip
    try:
        run = submit(ws, step)
        run.wait_for_completion(show_output=False)
        published = run.publish_pipeline(name="adds", description="adds a number", version="1.0")
        monkeypatch.setenv("PARALLELRUN_SERVER_URL", server.url)
        monkeypatch.setenv("PARALLELRUN_SERVER_TOKEN", TOKEN)
        header = InteractiveLoginAuthentication().get_authentication_header()
        assert header == {"Authorization": f"token {TOKEN}"}
        path = published.endpoint.removeprefix(f"http://127.0.0.1:{server.port}")
        body = {"ExperimentName": "posted", "ParameterAssignments": {"add": 1000}}
        for token in (None, "wrong"):
            assert ask(server, path, body, token)[0] in {401, 403}
        assert list(ws.experiments) == ["tests"]
        status, answer = ask(server, path, body, TOKEN)
        assert status == 200
        posted = PipelineRun(ws.experiments["posted"], answer["Id"])
        posted.wait_for_completion(show_output=False)
        assert rows_of(posted.find_step_run("predict")[0]) == [str(1000 + n) for n in range(5)]
        status, answer = ask(server, path, {"ParameterAssignments": {"ad": 1}}, TOKEN)
        assert (status, "Did you mean 'add'?" in answer["message"]) == (400, True)
        assert ask(server, path + "x", body, TOKEN)[0] == 404
        published.disable()
        assert ask(server, path, body, TOKEN)[0] == 400
    finally:
        server.stop()


def test_settings_of_steps_change_over_http_without_being_parameters(
    ws: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    from parallelrun_jupyter.errors import ConfigError
    from parallelrun_jupyter.pipelines.start import start_published

    step = parallel(ws, [files(ws).as_named_input("n")], arguments=["--a", "b"])
    importlib.import_module("azureml.pipeline.core").Pipeline(ws, [step]).publish(name="p")
    (published,) = importlib.import_module("azureml.pipeline.core").PublishedPipeline.list(ws)
    folder = start_published(published.id, {"process_count_per_node": 1, "mini_batch_size": "5"})
    run = importlib.import_module("azureml.pipeline.core").PipelineRun.get(ws, folder.run_id)
    run.wait_for_completion(show_output=False)
    record = run.get_steps()[0].native().folder.read_record()
    assert (record.placement.process_count_per_node, record.inputs.mini_batch_size) == (1, 5)
    assert (
        record.script.arguments[record.script.arguments.index("--process_count_per_node") + 1]
        == "1"
    )
    with pytest.raises(ConfigError, match="no parameter 'speed'"):
        start_published(published.id, {"speed": 1})
    before = sorted(ws.folder.parent.parent.rglob("*.json"))
    for name in ("../../up", "/tmp/up", ".."):  # as in an HTTP request
        with pytest.raises(ConfigError, match="the experiment's name is"):
            start_published(published.id, {}, name)
    assert sorted(ws.folder.parent.parent.rglob("*.json")) == before


def test_two_steps_of_the_preview_keep_their_own_sizes(ws: Any) -> None:
    from azureml.contrib.pipeline.steps import ParallelRunConfig, ParallelRunStep
    from azureml.core import Environment
    from azureml.pipeline.core import PipelineData

    Path("score.py").write_text(SCORE)
    steps = [
        ParallelRunStep(
            f"step-{size}",
            ParallelRunConfig(
                Environment("e"), "score.py", 0, "append_row", "cpu", 1, mini_batch_size=size
            ),
            [files(ws).as_named_input("n")], PipelineData(f"rows{size}"), allow_reuse=False,
        )
        for size in ("1", "3")
    ]  # fmt: skip
    one = submit(
        ws, steps[0], pipeline_parameters={"aml_mini_batch_size": "5", "aml_node_count": 1}
    )
    both = submit(ws, *steps)
    for run, expected in ((one, [1]), (both, [5, 2])):
        run.wait_for_completion(show_output=False)
        found = [step.native().snapshot()["mini_batches"] for step in run.get_steps()]
        assert found == expected


def test_the_console_shows_the_output_of_scripts(
    ws: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    from azureml.pipeline.steps import PythonScriptStep

    Path("talks.py").write_text("print('hello from a step')")
    run = submit(ws, PythonScriptStep("talks.py", allow_reuse=False))
    run.wait_for_completion(show_output=True)
    said = capsys.readouterr().out
    assert "hello from a step" in said
    assert said.index("StepRun( talks ) Status") < said.index("PipelineRun Status: Finished")


def test_a_resumed_pipeline_continues_with_the_interrupted_step(ws: Any) -> None:
    from azureml.core import Model
    from azureml.pipeline.steps import PythonScriptStep

    Path("first.py").write_text("print('once')")
    Path("model.bin").write_text("w")
    Model.register(ws, "model.bin", "m")
    slow = (
        "import os, time\n"
        "def run(mini_batch):\n"
        "    assert open('azureml-models/m/1/model.bin').read() == 'w'\n"  # the folder of Azure's SDK
        "    time.sleep(0.4)\n"
        "    return [os.path.basename(p) for p in mini_batch]\n"
    )
    first = PythonScriptStep("first.py", allow_reuse=False)
    step = parallel(ws, [files(ws, 12).as_named_input("n")], slow, mini_batch_size=1)
    step.run_after(first)
    run = submit(ws, step)
    until = time.monotonic() + 60
    while run.find_step_run("predict")[0].get_status() != "Running" and time.monotonic() < until:
        time.sleep(0.05)
    os.kill(json.loads(run.folder.driver.read_text())["pid"], signal.SIGKILL)
    while run.get_status() != "Interrupted" and time.monotonic() < until:
        time.sleep(0.05)
    before = run.find_step_run("first")[0].id
    assert run.resume().wait_for_completion(show_output=False) == "Finished"
    assert run.find_step_run("first")[0].id == before
    assert len(rows_of(run.find_step_run("predict")[0])) == 12
    with pytest.raises(RunFolderError, match="is Completed"):
        run.resume()


def strike(journal: Path, *kinds: str) -> None:
    """Take events from a journal, as if its driver had been killed before it wrote them."""
    lines = journal.read_text().splitlines(keepends=True)
    journal.write_text("".join(x for x in lines if json.loads(x)["event"] not in kinds))


def unmake(run: Path, *, keep_record: bool) -> None:
    """Reset a run to its state before the launch of its driver: its script, perhaps its record."""
    native = Run.attach(run.name)
    native.cancel()
    native.wait_for_completion(show_output=False, raise_on_error=False)
    with contextlib.suppress(psutil.NoSuchProcess):  # it still clears up
        psutil.Process(json.loads(native.folder.driver.read_text())["pid"]).wait(20)
    for path in sorted(run.rglob("*"), reverse=True):
        is_kept = (
            path.is_dir() or "script" in path.parts or (keep_record and path.name == "run.json")
        )
        if not is_kept:
            path.unlink()


@pytest.mark.parametrize("killed", ["submitted", "before its record", "before its driver"])
def test_a_driver_killed_while_it_submits_a_step_does_not_start_it_twice(
    ws: Any, home: Path, killed: str
) -> None:
    slow = (
        "import os, time\n"
        "def run(mini_batch):\n"
        "    time.sleep(0.2)\n"
        "    return [os.path.basename(p) for p in mini_batch]\n"
    )
    step = parallel(ws, [files(ws, 12).as_named_input("n")], slow, mini_batch_size=1)
    run = submit(ws, step)
    until = time.monotonic() + 60
    while run.find_step_run("predict")[0].get_status() != "Running":
        assert time.monotonic() < until
        time.sleep(0.05)
    os.kill(json.loads(run.folder.driver.read_text())["pid"], signal.SIGKILL)
    while run.get_status() != "Interrupted":
        assert time.monotonic() < until
        time.sleep(0.05)
    strike(run.folder.journal, "StepStarted", "StepFinished", "PipelineFinished")
    [before] = (home / "runs").iterdir()
    if killed != "submitted":
        unmake(before, keep_record=killed == "before its driver")
    assert run.resume().wait_for_completion(show_output=False) == "Finished"
    [after] = (home / "runs").iterdir()
    assert (after.name == before.name) == (killed != "before its record")
    assert sorted(rows_of(run.find_step_run("predict")[0])) == sorted(f"{k}.txt" for k in range(12))


def test_a_compute_target_may_be_a_dask_cluster(ws: Any, dask_cluster: DaskProcesses) -> None:
    from parallelrun_jupyter.config.compute import name_compute

    name_compute("cpu", dask_cluster.address)
    run = submit(ws, parallel(ws, [files(ws).as_named_input("n")]))
    run.wait_for_completion(show_output=False)
    (step_run,) = run.find_step_run("predict")
    assert step_run.native().folder.read_record().placement.backend == "dask"
    assert rows_of(step_run) == [f"{n}.txt {n}" for n in range(5)]
