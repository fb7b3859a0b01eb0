"""Runs batch deployments: over the files of a folder, or as the pipeline of their component."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeAlias

from ...client.script import Script
from ...client.submit import submit, submit_script
from ...config.compute import named_compute
from ...config.run_config import ParallelRunConfig
from ...config.step import ParallelRunStep
from ...data.datasets.file_dataset import FileDataset
from ...data.datasets.inputs import dataset_of
from ...environment.build import as_policy, interpreter, policy
from ...environment.packages import PackageSet
from ...errors import ConfigError, InputError, MissingExtraError
from ...formatting import nearest_hint
from ...pipelines.steps import LEGACY_PANDAS_VARIABLES
from ...pipelines.workspaces import workspace_above
from ...worker.azureml import mlflow_entry
from ..model.deployments import (
    CodeConfiguration,
    Deployment,
    ModelDeployment,
    PipelineDeployment,
)
from ..model.places import Place
from ..model.problems import JobFileError, Problem
from ..model.values import Input
from ..reader.deployments import load_deployment
from .assets import Assets, conda_record
from .compiler import COMPUTE_VARIABLE
from .deployment_run import DeploymentRun
from .input_tables import is_mltable, mltable_sentence
from .invoke_component import start_component
from .job_run import JobRun
from .mlflow_model import find_mlflow, read_mlflow
from .models import model_folder
from .origin import Origin

Data: TypeAlias = str | os.PathLike[str] | FileDataset
"""A file, a folder, a glob, a URL, the name of registered data (``azureml:digits:1``), or a dataset."""

Output: TypeAlias = str | os.PathLike[str] | Mapping[str, str] | None

_NO_MLFLOW = re.compile("mlflow[ =<>].* is not installed")
_SUFFIXES = (*mlflow_entry.TABLES, *mlflow_entry.IMAGES)


def invoke(
    path: str | os.PathLike[str],
    *,
    input: Data | Mapping[str, Any] | None = None,  # noqa: A002 - the name in Azure's CLI
    output: str | os.PathLike[str] | None = None,
    set: Mapping[str, Any] | None = None,  # noqa: A002 - the name in Azure's CLI
    compute: str = "",
) -> DeploymentRun | JobRun:
    """Start a batch deployment of Azure ML on this machine; return its run.

    The run continues when this process ends.

    Parameters
    ----------
    path
        The YAML file of the deployment.
    input
        The files to score: a folder, a file, a glob, a URL, or the name of registered data. For a
        pipeline component, its inputs by name, or the path of the only one that it needs.
    output
        The folder that receives the predictions, or the files of the script. Default: the run's own
        folder. For a pipeline component, the folder that receives each output under its name.
    set
        Values to set in the file first, by dotted name: ``{"settings.mini_batch_size": 5}``.
    compute
        ``local``, a named compute, or ``tcp://SCHEDULER`` of Dask. Default: a named compute with the
        name in the file, or this machine.

    Returns
    -------
    DeploymentRun or JobRun
        Of a model, a `Run` with ``output`` (the path of the predictions) and ``warnings()``; of a
        pipeline component, as of ``run``.

    Raises
    ------
    JobFileError
        The file has mistakes, or needs something that is not on this machine. The message has file,
        line and column of each. It is a ``ConfigError``.
    InputError
        The input is missing, or has files that an MLflow model without a script cannot read.
    MissingExtraError
        The model is scored without a script, and the interpreter has no mlflow.
    EntryScriptError
        The scoring script has a syntax error, or no ``run``.
    LaunchError
        The driver did not start.

    Examples
    --------
    ::

        run = azureml_v2.invoke("deployment.yml", input="data/", output="scores/")
        run.wait_for_completion()
        pd.read_csv(run.output, names=["row", "prediction", "file_name"])
    """
    return invoke_deployment(load_deployment(path, set), input, output, compute)


def invoke_deployment(
    deployment: Deployment,
    input: Data | Mapping[str, Any] | None,  # noqa: A002 - as in `invoke`
    output: Output,
    compute: str = "",
    *,
    workspace: Path | None = None,
    experiment: str = "",
) -> DeploymentRun | JobRun:
    """Start a deployment; see `invoke`.

    Parameters
    ----------
    deployment
        The deployment.
    input, compute
        As for `invoke`.
    output
        As for `invoke`; for a pipeline component also the paths of its outputs by name.
    workspace
        The folder of the workspace whose names it uses. Default: that of the nearest ``config.json``
        above the deployment's file.
    experiment
        The experiment of the run. Default: the name of the endpoint.
    """
    origin = Origin(deployment.endpoint_name, deployment.name, experiment)
    if isinstance(deployment, PipelineDeployment):
        job = start_component(
            deployment, input, output, compute, workspace=workspace, experiment=experiment
        )
        origin.write(job.folder)
        return job
    if isinstance(output, Mapping):
        msg = "output has names, but a deployment of a model writes one folder; give its path."
        raise ConfigError(msg)
    if input is None or isinstance(input, Mapping):
        msg = (
            "input is missing; expected the folder with the files to score: invoke(path, "
            "input='data/'), or --input data/ in the terminal."
        )
        if isinstance(input, Mapping):
            names = ", ".join(input)
            msg = f"input has names ({names}), but a deployment of a model takes one folder; give its path."
        raise ConfigError(msg)
    started = _Invocation(deployment, compute, workspace).start(input, output)
    origin.write(started.folder)
    return started


class _Config(ParallelRunConfig):
    """The settings of a deployment."""

    # In Azure a file gives any number of rows: a table gives one for each of its own.
    warns_of_extra_rows = False
    api = "v2"


class _Invocation:
    """Starts the deployment of a model.

    Parameters
    ----------
    deployment
        The deployment.
    compute, workspace
        As for `invoke_deployment`.
    """

    def __init__(self, deployment: ModelDeployment, compute: str, workspace: Path | None) -> None:
        folder = Path(os.path.abspath(deployment.file)).parent
        self._deployment = deployment
        self._assets = Assets(workspace or workspace_above(folder))
        self._compute = self._compute_of(compute)

    def start(self, data: Data, output: str | os.PathLike[str] | None) -> DeploymentRun:
        """Start the run."""
        deployment, assets = self._deployment, self._assets
        folder = ""
        if deployment.model is not None:
            folder = model_folder(deployment.model, deployment.name, assets)
        script = self._script_path(deployment.code) if deployment.code else None
        packages = assets.environment(deployment.environment)
        mlflow = ""
        if folder and deployment.code is None:
            mlflow = self._mlflow(folder)
        dataset = self._dataset(data)
        if mlflow and deployment.environment is None and not assets.problems:
            conda = read_mlflow(mlflow).conda_file
            packages = conda_record(conda or None, Place(conda), assets.problems)
        if assets.problems:
            raise JobFileError(sorted({*assets.problems}))
        assert dataset is not None  # else there are problems
        python, differences = self._interpreter(packages)
        if mlflow:
            _require_mlflow(python, deployment.name)
            _check_files(dataset)
            # mlflow-skinny is mlflow without its server.
            differences = [note for note in differences if not _NO_MLFLOW.match(note)]
        for note in differences:
            assets.note(note)
        step = ParallelRunStep(
            deployment.name,
            self._config(folder, script, python),
            [dataset],
            None if output is None else os.fspath(output),
        )
        run = submit(step) if script else submit_script(step, _mlflow_script(deployment.name))
        notes = tuple(assets.notes)
        for note in notes:
            print(f"note: {note}.")
        return DeploymentRun(run.folder, notes)

    def _config(
        self, folder: str, script: tuple[str, str] | None, python: str
    ) -> ParallelRunConfig:
        settings = self._deployment.settings
        source, name = script or (None, None)
        if settings.instance_count > 1 and not self._compute:
            self._assets.note(
                f"the {settings.instance_count} instances are groups of processes on this machine"
            )
        is_file = settings.output_action == "append_row"
        # mlflow would begin a folder mlruns in the current one.
        tracking = {"MLFLOW_TRACKING_URI": (self._assets.workspace / "mlruns").as_uri()}
        if script is not None or tracking.keys() & os.environ.keys():
            tracking = {}
        return _Config(
            entry_script=name,
            source_directory=source,
            environment=python,
            environment_variables={
                **LEGACY_PANDAS_VARIABLES,
                **tracking,
                **settings.environment_variables,
                "AZUREML_MODEL_DIR": folder,
            },
            compute_target=self._compute or None,
            node_count=settings.instance_count,
            process_count_per_node=settings.max_concurrency_per_instance,
            mini_batch_size=settings.mini_batch_size,
            output_action=settings.output_action,
            append_row_file_name=settings.output_file_name if is_file else None,
            error_threshold=settings.error_threshold,
            run_invocation_timeout=settings.timeout,
            run_max_try=settings.max_retries + 1,
            # In Azure a mini-batch fails as a whole, and is tried again at once.
            isolate_failures=False,
            retry_delay=0,
            logging_level=settings.logging_level.upper(),
            description=self._deployment.description or None,
        )

    def _compute_of(self, compute: str) -> str:
        wanted = compute or os.environ.get(COMPUTE_VARIABLE, "").strip()
        if wanted:
            return "" if wanted == "local" else wanted
        name = self._deployment.compute.removeprefix("azureml:")
        if name in {"", "local"}:
            return ""
        if named_compute(name) is not None:
            return name
        self._assets.note(f"compute {name} is a compute of Azure; the run is on this machine")
        return ""

    def _script_path(self, code: CodeConfiguration) -> tuple[str, str] | None:
        """Return the folder of the scripts, and the scoring script in it; None if it is not there."""
        folder = code.code or os.path.dirname(os.path.abspath(self._deployment.file))
        if not os.path.isdir(folder):
            message = f"code is {folder}, which is not a folder of this machine; give the folder of the scripts."
            self._assets.problems.append(Problem(code.places.of("code"), message))
            return None
        path = os.path.join(folder, code.scoring_script)
        if not os.path.isfile(path):
            hint = nearest_hint(code.scoring_script, os.listdir(folder))
            message = (
                f"scoring_script is {code.scoring_script!r}, but there is no file {path}.{hint}"
            )
            self._assets.problems.append(Problem(code.places.of("scoring_script"), message))
            return None
        if not code.code:  # the script alone: its folder may hold the data, too
            return "", path
        return folder, code.scoring_script

    def _mlflow(self, folder: str) -> str:
        """Return the folder of the MLflow model, which is scored without a script."""
        model = self._deployment.model
        assert model is not None
        found = find_mlflow(folder)
        if not found:
            message = (
                "the model has no file MLmodel, and only MLflow models are scored without a script; add "
                "code_configuration with code and scoring_script."
            )
            self._assets.problems.append(Problem(model.places.own, message))
            return ""
        try:
            read_mlflow(found)
        except ConfigError as error:
            self._assets.problems.append(Problem(model.places.own, str(error)))
        return found

    def _dataset(self, data: Data) -> FileDataset | None:
        if isinstance(data, FileDataset):
            return data
        text = os.fspath(data)
        place = Place("--input")
        if is_mltable(text, self._assets.workspace):
            self._assets.problems.append(Problem(place, mltable_sentence(text)))
            return None
        if not text.startswith("azureml:"):
            return FileDataset(text)
        spec = self._assets.dataset(
            Input(type="uri_folder", path=text), "input", place, is_split=False
        )
        dataset = dataset_of(spec) if spec is not None else None
        if dataset is not None and not isinstance(dataset, FileDataset):
            message = f"{text} is a table; a deployment takes files, such as those of a folder."
            self._assets.problems.append(Problem(place, message))
            return None
        return dataset

    def _interpreter(self, packages: dict[str, Any]) -> tuple[str, list[str]]:
        log = self._assets.workspace / "environment.log"
        return interpreter(PackageSet.of(packages), as_policy(policy()), log)


def _mlflow_script(name: str) -> Script:
    """Return the entry script for MLflow models: the text of a module of this package."""
    text = Path(mlflow_entry.__file__).read_text(encoding="utf-8")
    return Script(Path.cwd() / "mlflow_entry.py", text=text, title=name)


def _require_mlflow(python: str, name: str) -> None:
    """Check that an interpreter has mlflow.

    Raises
    ------
    MissingExtraError
        It is missing.
    """
    if python == sys.executable:
        is_here = importlib.util.find_spec("mlflow") is not None
        command = "pip install 'parallelrun-jupyter[mlflow]'"
    else:
        code = "import importlib.util, sys; sys.exit(importlib.util.find_spec('mlflow') is None)"
        is_here = subprocess.run([python, "-c", code], capture_output=True).returncode == 0  # noqa: PLW1510 - its failing is the answer
        command = f"{python} -m pip install mlflow-skinny"
    if not is_here:
        msg = (
            f"the model of {name!r} is scored without a script, which needs mlflow in {python}: "
            f"{command}, and the packages of the model itself; or set PARALLELRUN_ENVIRONMENT=build, "
            "which makes an environment of the model's conda file."
        )
        raise MissingExtraError(msg)


def _check_files(dataset: FileDataset) -> None:
    """Check that a model without a script can read all files.

    Raises
    ------
    InputError
        A file is of another type; in Azure the job would fail at it.
    """
    for paths in dataset.listed():
        for path in paths:
            suffix = os.path.splitext(str(path))[1].lower()
            if suffix not in _SUFFIXES:
                msg = (
                    f"the input has the file {path} of type {suffix!r}, which an MLflow model without a "
                    f"script cannot read; expected only {', '.join(_SUFFIXES)}. Name the files that it "
                    "can read, such as --input 'data/*.csv', or add code_configuration with a "
                    "scoring_script."
                )
                raise InputError(msg)
