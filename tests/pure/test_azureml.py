"""The import layer: names, guard, workspaces on disk, models, signatures and their checks."""

from __future__ import annotations

import importlib
import inspect
import json
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from parallelrun_jupyter import azureml
from parallelrun_jupyter.environment.packages import (
    PackageSet,
    differences,
)
from parallelrun_jupyter.errors import ConfigError


@pytest.fixture(autouse=True)
def layer(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    assert azureml.install()
    yield
    azureml.uninstall()


@pytest.fixture
def ws(capsys: pytest.CaptureFixture[str]) -> Any:
    return importlib.import_module("azureml.core").Workspace.from_config()


def run_python(code: str, **variables: str) -> str:
    import os

    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env={**os.environ, **variables},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_both_spellings_are_served_and_differ() -> None:
    from azureml.contrib.pipeline.steps import ParallelRunConfig as Preview
    from azureml.core import VERSION
    from azureml.pipeline.steps import ParallelRunConfig, ParallelRunStep

    assert VERSION.split("+")[0].split(".") >= ["1", "62"]
    names = list(inspect.signature(ParallelRunConfig).parameters)
    assert names == [
        "environment", "entry_script", "error_threshold", "output_action", "compute_target",
        "node_count", "process_count_per_node", "mini_batch_size", "source_directory",
        "description", "logging_level", "run_invocation_timeout", "run_max_try",
        "append_row_file_name", "allowed_failed_count", "allowed_failed_percent",
        "partition_keys", "environment_variables",
    ]  # fmt: skip
    assert not {"run_max_try", "partition_keys"} & set(inspect.signature(Preview).parameters)
    assert list(inspect.signature(ParallelRunStep).parameters) == [
        "name", "parallel_run_config", "inputs", "output", "side_inputs", "arguments", "allow_reuse",
    ]  # fmt: skip


def test_the_error_for_a_missing_name_suggests_a_replacement() -> None:
    import azureml.core

    with pytest.raises(ImportError, match=r"azureml\.train is not part .* PythonScriptStep"):
        importlib.import_module("azureml.train.automl")
    with pytest.raises(
        ImportError, match=r"ScriptRunConfig is not part.*PythonScriptStep in a Pipe"
    ):
        exec("from azureml.core import ScriptRunConfig")
    with pytest.raises(AttributeError, match=r"Did you mean 'Workspace'\?"):
        azureml.core.Workspce  # noqa: B018 - asking is the test
    with pytest.raises(ImportError, match="DatabricksStep"):
        exec("from azureml.pipeline.steps import DatabricksStep")
    assert not hasattr(azureml.core, "nothing_like_it")


FAKE = "import sys, parallelrun_jupyter.azureml as a; sys.path.insert(0, {folder!r}); "


def test_beside_a_real_sdk_the_layer_stays_off(tmp_path: Path) -> None:
    core = tmp_path / "site" / "azureml" / "core"
    core.mkdir(parents=True)
    (core / "__init__.py").write_text("VERSION = 'real'")
    head = FAKE.format(folder=str(tmp_path / "site"))
    said = run_python(
        f"{head} print(a.install()); import azureml.core; print(azureml.core.VERSION)"
    )
    assert said == "False\nreal"
    late = (
        "import sys, parallelrun_jupyter.azureml as a; a.install(); "
        f"sys.path.insert(0, {str(tmp_path / 'site')!r}); import azureml.core;"
        "print(azureml.core.VERSION)\n"
        "try: import azureml.pipeline.steps\nexcept ImportError: print('not mixed')"
    )
    assert run_python(late) == "real\nnot mixed"


@pytest.mark.parametrize("has_init", [False, True])
def test_other_real_packages_below_azureml_keep_importing(tmp_path: Path, has_init: bool) -> None:
    package = tmp_path / "site" / "azureml" / "fsspec"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("WHO = 'real'")
    if has_init:
        text = "__path__ = __import__('pkgutil').extend_path(__path__, __name__)"
        (tmp_path / "site" / "azureml" / "__init__.py").write_text(text)
    head = FAKE.format(folder=str(tmp_path / "site"))
    code = (
        f"{head} print(a.install()); import azureml.fsspec, azureml.core;"
        "print(azureml.fsspec.WHO, azureml.core.VERSION)"
    )
    assert run_python(code).split() == ["True", "real", "1.62.0+parallelrun"]


def test_the_variable_switches_it_on() -> None:
    code = "import azureml.core; print(azureml.core.VERSION)"
    assert "parallelrun" in run_python(code, PARALLELRUN_AZUREML="1")
    off = "import importlib.util; print(importlib.util.find_spec('azureml'))"
    assert run_python(off, PARALLELRUN_AZUREML="0") == "None"


def test_a_config_is_searched_upwards_and_names_the_workspace(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from azureml.core import Workspace
    from azureml.exceptions import UserErrorException

    config = {"subscription_id": "s", "resource_group": "g", "workspace_name": "mine"}
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "a" / "b").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "a" / "b")
    ws = Workspace.from_config()
    assert (ws.name, ws.resource_group, ws.subscription_id) == ("mine", "g", "s")
    assert "mine" in capsys.readouterr().out
    assert Workspace.get("mine", subscription_id="s", resource_group="g").folder == ws.folder
    ws.write_config(path=str(tmp_path / "a"))
    assert Workspace.from_config(str(tmp_path / "a")).folder == ws.folder
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(UserErrorException, match="workspace_name"):
        Workspace.from_config(str(tmp_path))


def test_without_a_config_a_default_workspace_is_created_and_announced(
    capsys: pytest.CaptureFixture[str],
) -> None:
    from azureml.core import Workspace
    from azureml.exceptions import WorkspaceException

    ws = Workspace.from_config()
    assert ws.name == "local"
    assert "No config.json" in capsys.readouterr().out
    with pytest.raises(WorkspaceException, match="workspace 'other' does not exist"):
        Workspace.get("other")
    Workspace.create("other", show_output=False)
    with pytest.raises(WorkspaceException, match="exist_ok=True"):
        Workspace.create("other")
    assert set(Workspace.list()) == {"local", "other"}


def test_models_have_versions_tags_and_paths(ws: Any, tmp_path: Path) -> None:
    from azureml.core import Model
    from azureml.core.model import Model as Same
    from azureml.exceptions import WebserviceException

    assert Model is Same
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "w.bin").write_text("one")
    first = Model.register(ws, "models/", "m", tags={"area": "digits"}, description="d")
    (tmp_path / "f.pkl").write_text("two")
    second = Model.register(model_path="f.pkl", model_name="m", workspace=ws)
    assert (first.version, second.version, second.id) == (1, 2, "m:2")
    assert Path(Model.get_model_path("m", 1, ws)).is_dir()
    assert Path(Model.get_model_path("m", _workspace=ws)).read_text() == "two"
    assert Model.get_model_path("m", _workspace=ws).endswith("azureml-models/m/2/f.pkl")
    assert [m.version for m in Model.list(ws)] == [2, 1]
    assert [m.version for m in Model.list(ws, tags=[["area", "digits"]])] == [1]
    assert [m.version for m in Model.list(ws, "m", latest=True)] == [2]
    assert ws.models["m"].version == 2
    assert Path(Model(ws, "m", version=1).download("out")).name == "models"
    second.delete()
    assert Model(ws, "m").version == 1
    assert Model.register(ws, "f.pkl", "m").version == 3
    with pytest.raises(WebserviceException, match=r"'n' is not registered .* registered are: m"):
        Model(ws, "n")
    with pytest.raises(WebserviceException, match="does not exist"):
        Model.register(ws, "nothing", "n")


def test_processes_that_register_concurrently_get_distinct_version_numbers(
    ws: Any, tmp_path: Path
) -> None:
    from azureml.core import Model

    (tmp_path / "f.pkl").write_text("x")
    code = (
        "import parallelrun_jupyter.azureml as a; a.install()\n"
        "from azureml.core import Workspace, Model\n"
        "ws = Workspace.from_config()\n"
        "print(*[Model.register(ws, 'f.pkl', 'm').version for _ in range(5)], sep='\\n')"
    )
    with ThreadPoolExecutor(3) as pool:
        said = pool.map(lambda _: run_python(code), range(3))
    numbers = [int(line) for text in said for line in text.splitlines() if line.isdigit()]
    assert sorted(numbers) == list(range(1, 16))
    assert len(Model.list(ws)) == 15


def test_compute_targets_are_names(ws: Any) -> None:
    from azureml.core.compute import AmlCompute, ComputeTarget
    from azureml.exceptions import ComputeTargetException

    with pytest.raises(ComputeTargetException, match="ComputeTargetNotFound"):
        ComputeTarget(workspace=ws, name="cpu")
    config = AmlCompute.provisioning_configuration(vm_size="D2", min_nodes="0", max_nodes="4")
    made = ComputeTarget.create(ws, "cpu", config)
    made.wait_for_completion(show_output=True, min_node_count=None, timeout_in_minutes=20)
    assert type(ws.compute_targets["cpu"]) is AmlCompute
    assert made.get_status().serialize()["scaleSettings"]["maxNodeCount"] == 4
    made.delete()
    assert "cpu" not in ws.compute_targets
    with pytest.raises(ComputeTargetException, match="min_nodes <= max_nodes"):
        AmlCompute.provisioning_configuration(min_nodes=3, max_nodes=2)


def make(tmp_path: Path, preview: bool = False, **changes: Any) -> Any:
    from azureml.core import Environment

    spelling = "azureml.contrib.pipeline.steps" if preview else "azureml.pipeline.steps"
    (tmp_path / "score.py").write_text("def run(mini_batch): return []")
    given = {
        "environment": Environment("e"), "entry_script": "score.py", "error_threshold": 1,
        "output_action": "append_row", "compute_target": "cpu", "node_count": 1,
    }  # fmt: skip
    return importlib.import_module(spelling).ParallelRunConfig(**{**given, **changes})


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"environment": None}, "environment is required"),
        ({"environment": "e"}, "must be an instance of azureml.core.Environment"),
        (
            {"error_threshold": -2},
            "error_threshold must be an int value greater than or equal to -1",
        ),
        ({"error_threshold": 1.5}, "error_threshold must be an int"),
        ({"output_action": "rows"}, "summary_only or append_row"),
        ({"process_count_per_node": 0}, "integer greater than 0"),
        ({"run_invocation_timeout": 0}, "run_invocation_timeout"),
        ({"run_max_try": 0}, "run_max_try"),
        ({"mini_batch_size": "1.5MB"}, "'10KB' or '1MB'"),
        ({"mini_batch_size": "0"}, "from 1"),
        ({"append_row_file_name": "a/b.txt"}, "valid UNIX file name"),
        ({"allowed_failed_percent": 101}, "from 0 to 100"),
        ({"partition_keys": [1]}, "list of str"),
        ({"mini_batch_size": "1", "partition_keys": ["a"]}, "mutually exclusive"),
    ],
)
def test_a_wrong_setting_is_a_value_error(
    tmp_path: Path, changes: dict[str, Any], words: str
) -> None:
    with pytest.raises(ValueError, match=words):
        make(tmp_path, **changes)


@pytest.mark.parametrize("is_preview", [False, True])
@pytest.mark.parametrize(
    "setting",
    [{"isolate_failures": True}, {"retry_delay": 1}, {"retry_on": ["A"]}, {"no_retry_on": ["A"]}],
)
def test_settings_that_azure_lacks_are_refused(
    tmp_path: Path, setting: dict[str, Any], is_preview: bool
) -> None:
    [name] = setting
    with pytest.raises(TypeError, match=f"unexpected keyword argument '{name}'"):
        make(tmp_path, preview=is_preview, **setting)
    assert name not in make(tmp_path).settings()


def test_actions_ignore_case_and_yaml_round_trips(tmp_path: Path, ws: Any) -> None:
    from azureml.pipeline.steps import ParallelRunConfig

    config = make(tmp_path, output_action="Append_Row", mini_batch_size=5, allowed_failed_count=2)
    assert config.output_action == "append_row"
    config.save_to_yaml("config.yml")
    again = ParallelRunConfig.load_yaml(ws, "config.yml")
    assert again.settings() == config.settings()


def test_the_preview_promotes_settings_to_parameters(tmp_path: Path) -> None:
    config = make(tmp_path, preview=True, mini_batch_size="5")
    assert config.settings()["mini_batch_size"] == {"parameter": "aml_mini_batch_size"}
    names = {parameter.name for parameter in config.parameters()}
    assert {"aml_mini_batch_size", "aml_error_threshold", "aml_node_count"} <= names
    with pytest.raises(TypeError, match="takes text"):
        make(tmp_path, preview=True, mini_batch_size=5)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["plain"], "only keyword arguments"),
        (["--output", "x"], "Reserved argument 'output'"),
        (["--a", "1", "--error_threshold=3"], "Reserved argument 'error_threshold'"),
        (["--task_overhead_timeout", "soon"], "whole number of seconds"),
    ],
)
def test_arguments_that_azure_refuses(
    tmp_path: Path, ws: Any, arguments: list[str], words: str
) -> None:
    with pytest.raises(ValueError, match=words):
        step(tmp_path, ws, arguments=arguments)


def step(tmp_path: Path, ws: Any, **changes: Any) -> Any:
    from azureml.core import Dataset
    from azureml.pipeline.core import PipelineData
    from azureml.pipeline.steps import ParallelRunStep

    (tmp_path / "data").mkdir(exist_ok=True)
    (tmp_path / "data" / "a.txt").write_text("a")
    given = {
        "name": "predict", "parallel_run_config": make(tmp_path, mini_batch_size=1),
        "inputs": [Dataset.File.from_files("data").as_named_input("data")],
        "output": PipelineData("out"),
    }  # fmt: skip
    return ParallelRunStep(**{**given, **changes})


def test_steps_reject_unusable_inputs_with_advice(tmp_path: Path, ws: Any) -> None:
    from azureml.core import Dataset
    from azureml.exceptions import UserErrorException
    from azureml.pipeline.core import Pipeline, PipelineData

    with pytest.raises(AssertionError, match="non-empty list"):
        step(tmp_path, ws, inputs=[])
    with pytest.raises(UserErrorException, match="as_named_input"):
        step(tmp_path, ws, inputs=[Dataset.File.from_files("data")])
    with pytest.raises(ValueError, match="specify output"):
        step(tmp_path, ws, output=None)
    with pytest.raises(ValueError, match="doesn't exist"):
        step(tmp_path, ws, parallel_run_config=make(tmp_path, source_directory="nowhere"))
    with pytest.raises(ValueError, match="letters, digits, and underscores"):
        PipelineData("a-b")
    with pytest.raises(UserErrorException, match="expected a ParallelRunStep"):
        Pipeline(ws, steps=["predict"])
    step(tmp_path, ws, arguments=["--model_name", "mine"])  # not reserved here


def test_an_unknown_parameter_is_named(tmp_path: Path, ws: Any) -> None:
    from azureml.core import Experiment
    from azureml.exceptions import UserErrorException
    from azureml.pipeline.core import Pipeline, PipelineParameter

    config = make(tmp_path, mini_batch_size=PipelineParameter("batch_size", "1"))
    pipeline = Pipeline(ws, [step(tmp_path, ws, parallel_run_config=config)])
    assert pipeline.validate() == []
    with pytest.raises(UserErrorException, match=r"no parameter 'batch_sze'.*'batch_size'"):
        Experiment(ws, "e").submit(pipeline, pipeline_parameters={"batch_sze": 2})
    with pytest.raises(UserErrorException, match="Experiment name"):
        Experiment(ws, "a name with spaces")


def test_datasets_are_registered_with_versions(tmp_path: Path, ws: Any) -> None:
    from azureml.core import Dataset
    from azureml.exceptions import DatasetValidationError, UserErrorException

    store = ws.get_default_datastore()
    for name in ("a.txt", "b.txt"):
        (tmp_path / name).write_text(name)
    store.upload_files(["a.txt"], target_path="one", show_progress=False)
    store.upload_files(["b.txt"], target_path="two", show_progress=False)
    first = Dataset.File.from_files((store, "one")).register(ws, "texts")
    assert (first.name, first.version, first.to_path()) == ("texts", 1, ["/a.txt"])
    with pytest.raises(UserErrorException, match="create_new_version=True"):
        Dataset.File.from_files((store, "two")).register(ws, "texts")
    second = Dataset.File.from_files((store, "two")).register(ws, "texts", create_new_version=True)
    assert second.version == 2
    assert Dataset.get_by_name(ws, "texts").to_path() == ["/b.txt"]
    assert Dataset.get_by_name(ws, "texts", version=1).to_path() == ["/a.txt"]
    with second.mount() as mounted:
        assert Path(mounted.mount_point, "b.txt").read_text() == "b.txt"
    assert [Path(path).name for path in first.download("down")] == ["a.txt"]
    with pytest.raises(UserErrorException, match="registered are: texts"):
        Dataset.get_by_name(ws, "other")
    with pytest.raises(DatasetValidationError, match="does not exist"):
        Dataset.File.from_files((store, "nowhere"))
    with pytest.raises(AttributeError, match="not part of the local layer"):
        first.random_split(0.5)


def test_tables_are_read_into_dataframes(tmp_path: Path, ws: Any) -> None:
    from azureml.core import Dataset
    from azureml.data.dataset_factory import DataType

    (tmp_path / "t.csv").write_text('a;b\n1;"x\ny"\n2;z\n')
    table = Dataset.Tabular.from_delimited_files(
        "t.csv", separator=";", set_column_types={"a": DataType.to_float()}
    )
    frame = table.to_pandas_dataframe()
    assert list(frame["a"]) == [1.0, 2.0]
    assert list(frame["b"]) == ["x\ny", "z"]
    assert len(table.take(1).to_pandas_dataframe()) == 1
    registered = table.register(ws, "t")
    assert registered.to_pandas_dataframe().equals(frame)
    kept = Dataset.Tabular.register_pandas_dataframe(
        frame, (ws.get_default_datastore(), "frames"), "kept"
    )
    assert list(kept.to_pandas_dataframe()["b"]) == ["x\ny", "z"]
    assert set(ws.datasets) == {"t", "kept"}


def test_every_version_of_a_registered_frame_keeps_its_own_rows(ws: Any) -> None:
    import pandas as pd
    from azureml.core import Dataset

    store = ws.get_default_datastore()
    frames = [pd.DataFrame({"n": [number]}) for number in range(3)]
    for target in ((store, "frames"), (store, ""), store):
        for frame in frames:
            Dataset.Tabular.register_pandas_dataframe(frame, target, "kept")
        versions = [Dataset.get_by_name(ws, "kept", number) for number in (1, 2, 3)]
        assert [list(v.to_pandas_dataframe()["n"]) for v in versions] == [[0], [1], [2]]
        before = versions[0]
        before.unregister_all_versions()
        Dataset.Tabular.register_pandas_dataframe(frames[2], target, "kept")
        assert list(before.to_pandas_dataframe()["n"]) == [0], "its number is given again"
        Dataset.get_by_name(ws, "kept").unregister_all_versions()


@pytest.mark.parametrize("name", ["../up", "a/b", "", "..", "/tmp/x"])
def test_names_of_datasets_and_models_cannot_leave_the_workspace(
    ws: Any, name: str, tmp_path: Path
) -> None:
    import pandas as pd
    from azureml.core import Dataset, Model

    before = sorted(path for path in ws.folder.parent.parent.rglob("*"))
    with pytest.raises(ConfigError, match="the dataset's name is"):
        Dataset.Tabular.register_pandas_dataframe(
            pd.DataFrame({"n": [1]}), ws.get_default_datastore(), name
        )
    with pytest.raises(ConfigError, match="the dataset's name is"):
        Dataset.get_by_name(ws, name)
    (tmp_path / "model.bin").touch()
    with pytest.raises(Exception, match="model_name is"):
        Model.register(ws, "model.bin", name)
    left = sorted(path for path in ws.folder.parent.parent.rglob("*"))
    made = {path.name for path in left} - {path.name for path in before}
    assert made <= {"datastores", "workspaceblobstore"}


def test_a_model_folder_is_copied_without_pipes_and_links_back(ws: Any, tmp_path: Path) -> None:
    import os

    from azureml.core import Model

    folder = tmp_path / "model"
    (folder / "deep").mkdir(parents=True)
    (folder / "deep" / "weights").write_text("w")
    (folder / "linked").symlink_to(folder / "deep" / "weights")
    (folder / "deep" / "back").symlink_to(folder)
    (folder / "nowhere").symlink_to(tmp_path / "nothing")
    os.mkfifo(folder / "pipe")
    model = Model.register(ws, str(folder), "m")
    path = Path(Model.get_model_path("m", _workspace=ws))
    assert model.version == 1
    assert sorted(str(p.relative_to(path)) for p in path.rglob("*")) == [
        "deep", "deep/weights", "linked",
    ]  # fmt: skip
    with pytest.raises(Exception, match="child_paths contains '../secret', which is outside"):
        Model.register(ws, str(folder), "m", child_paths=["../secret"])


def test_datastores_of_two_workspaces_keep_their_own_keys(ws: Any) -> None:
    from azureml.core import Datastore, Workspace

    from parallelrun_jupyter.data.storage.credentials import variables_for_driver

    found = []
    for workspace, name in (("aa", "b_c"), ("aa_b", "c")):
        place = Workspace.create(workspace, exist_ok=True, show_output=False)
        store = Datastore.register_azure_blob_container(
            place, name, "data", "acct", account_key=f"key of {name}"
        )
        found.append((name, store))
    for name, store in found:
        handed = variables_for_driver(store.native.storage.references(), {})
        assert list(handed.values()) == [f"key of {name}"]


def test_environments_are_registered_and_their_pins_compared(ws: Any) -> None:
    from azureml.core import Environment
    from azureml.core.conda_dependencies import CondaDependencies

    env = Environment("e")
    env.python.conda_dependencies = CondaDependencies.create(
        conda_packages=["numpy=1.19"], pip_packages=["pillow==1.0", "azureml-core"]
    )
    env.register(ws)
    again = Environment.get(ws, "e")
    assert (again.version, again.record()["pip"]) == ("1", ["pillow==1.0", "azureml-core"])
    assert again.python.conda_dependencies.get_python_version() == "3.8"
    assert again.record()["python_version"] == ""  # the default version is not a request
    packages = PackageSet.of(again.record())
    assert packages.requirements() == ["numpy==1.19.*", "pillow==1.0"]
    said = differences(packages, sys.executable)
    assert any(line.endswith("pillow==1.0 was asked for") for line in said)


def test_a_policy_is_a_word_or_a_python(monkeypatch: pytest.MonkeyPatch) -> None:
    from parallelrun_jupyter.environment.build import as_policy

    assert as_policy("build") == "build"
    assert as_policy(sys.executable) == sys.executable
    with pytest.raises(ConfigError, match="expected 'current'"):
        as_policy("no-such-interpreter")


def test_finished_is_completed() -> None:
    from parallelrun_jupyter.azureml.statuses import run_status

    status = run_status("Completed")
    assert str(status) == "Finished"
    assert status == "Completed"
    assert status in {"Failed", "Finished"}
    assert status != "Failed"


def test_the_preview_accepts_its_old_arguments(tmp_path: Path, ws: Any) -> None:
    from azureml.contrib.pipeline.steps import ParallelRunStep
    from azureml.core import Model

    usual = step(tmp_path, ws)
    given = {
        "parallel_run_config": make(tmp_path, preview=True, mini_batch_size="5"),
        "inputs": usual.inputs,
        "output": usual.outputs[0],
        "models": [Model.register(ws, "score.py", "m")],
        "add_parallel_run_step_dependencies": False,
        "tags": {"a": "b"},
    }
    assert ParallelRunStep("batch-mnist", **given).models[0].name == "m"
    with pytest.raises(ValueError, match="3 to 32 characters"):
        ParallelRunStep("Batch_MNIST", **given)


def test_the_error_for_a_missing_attribute_suggests_a_similar_one() -> None:
    from parallelrun_jupyter.azureml.core.workspace import Workspace

    workspace = Workspace.create("ws", exist_ok=True)
    with pytest.raises(AttributeError, match=r"Workspace.get_detials is not part of the local"):
        _ = workspace.get_detials
    with pytest.raises(AttributeError, match=r"Did you mean 'datastores'\?"):
        _ = workspace.datastore
    assert not hasattr(workspace, "webservices_of_another_time")
