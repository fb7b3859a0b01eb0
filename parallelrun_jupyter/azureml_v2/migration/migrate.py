"""Writes a run, a pipeline of SDK v1, or the notebook that submits one, as the folder of a v2 job."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from ...errors import ConfigError, RunNotFoundError
from ...pipelines.folder import PipelineFolder, find_pipeline
from ...pipelines.workspaces import workspace_above
from ...runs.run_folder import RunFolder, find
from ..reader.jobs import load_job
from .job import JobWriter
from .run_as_step import pipeline_of_run


@dataclass(frozen=True, slots=True)
class Migrated:
    """The folder of a v2 job.

    Parameters
    ----------
    job
        Path of ``pipeline.yml``; beside it are ``code/``, the conda files and perhaps ``data/``.
    notes
        Sentences about what has no form in v2.
    """

    job: Path
    notes: tuple[str, ...]


def migrate(source: str | os.PathLike[str], to: str | os.PathLike[str]) -> Migrated:
    """Write a run, or a notebook, as the folder of an Azure ML v2 job.

    Parameters
    ----------
    source
        The id of a run or of a pipeline of SDK v1; or a notebook (``.ipynb``) with a ``%%parallelrun``
        cell or with SDK v1. The cells of a notebook are run in its folder, up to the first that
        submits, and nothing is submitted.
    to
        A new or empty folder.

    Returns
    -------
    Migrated
        The job's file, and sentences about what v2 has no form for.

    Raises
    ------
    ConfigError
        The folder is not empty, the notebook fails or submits nothing, or the run cannot be a v2
        job; the message says why.
    RunNotFoundError
        No run has this id.
    """
    folder = Path(os.path.abspath(os.path.expanduser(to)))
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        msg = f"--to is {os.fspath(to)!r}, which exists and is not empty; give a new folder."
        raise ConfigError(msg)
    text = os.fspath(source)
    if text.endswith(".ipynb"):
        captured = _captured(Path(os.path.abspath(text)))
        try:
            return _write(captured, folder)
        finally:
            shutil.rmtree(captured.path, ignore_errors=True)
    return _write(_folder_of(text), folder)


def _folder_of(run_id: str) -> RunFolder | PipelineFolder:
    try:
        return find_pipeline(run_id)
    except RunNotFoundError:
        if os.path.exists(run_id) and not os.path.isdir(run_id):
            msg = f"{run_id} is not a notebook (.ipynb); give a notebook, or the id of a run."
            raise ConfigError(msg) from None
        return find(run_id)


def _write(source: RunFolder | PipelineFolder, folder: Path) -> Migrated:
    was_there = folder.exists()
    is_done = False
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix="parallelrun-migrate-") as place:
            if isinstance(source, RunFolder):
                record = pipeline_of_run(source, Path(place))
                scripts = {record.steps[0].key: Path(place)}
            else:
                record = source.read_record()
                scripts = {step.key: source.step(step.key) / "script" for step in record.steps}
            writer = JobWriter(record, scripts, folder)
            job = writer.write()
            if record.workspace and Path(record.workspace) != workspace_above(folder):
                writer.notes.append(
                    f"the names of models and data are those of the workspace {Path(record.workspace).name}; "
                    f"copy its config.json beside {job.name}, or to a folder above it"
                )
        load_job(job)
        is_done = True
    finally:
        if not is_done:
            shutil.rmtree(folder, ignore_errors=True)
            if was_there:
                folder.mkdir()
    return Migrated(job, tuple(dict.fromkeys(writer.notes)))


def _captured(notebook: Path) -> RunFolder | PipelineFolder:
    """Run a notebook up to its first submission; return the folder of what it would have started."""
    if not notebook.is_file():
        msg = (
            f"there is no notebook {notebook}; give the path of an .ipynb file, or the id of a run."
        )
        raise ConfigError(msg)
    with tempfile.TemporaryDirectory(prefix="parallelrun-migrate-") as place:
        reply = Path(place) / "reply"
        words = [sys.executable, "-m", f"{__package__}.notebook", str(notebook), str(reply)]
        done = subprocess.run(
            words, cwd=notebook.parent, stdin=subprocess.DEVNULL, capture_output=True, text=True,
            check=False, env={**os.environ, "PARALLELRUN_AZUREML": "1"},
        )  # fmt: skip
        if not reply.exists():
            tail = (done.stdout + done.stderr).strip()[-2000:]
            msg = f"the notebook {notebook.name} could not be read up to a submission: {tail}"
            if done.returncode == 0:
                msg = (
                    f"the notebook {notebook.name} submits nothing; expected a %%parallelrun cell, or "
                    "Experiment(...).submit(...) of SDK v1."
                )
            raise ConfigError(msg)
        path = Path(reply.read_text(encoding="utf-8"))
    is_pipeline = (path / "pipeline.json").exists()
    return PipelineFolder(path) if is_pipeline else RunFolder(path)
