"""The scripts of steps: the folder to copy, and files beside it."""

from __future__ import annotations

import os
from pathlib import Path

from ...formatting import nearest_hint
from ..model.jobs import CommandStep, ParallelStep
from ..model.problems import Problem
from ..reader.fields import exists, missing_folder


def source_of(step: CommandStep | ParallelStep, job_file: str, problems: list[Problem]) -> str:
    """Return the folder of a step's scripts; a script alone where it has no ``code``; "" for none.

    Parameters
    ----------
    step
        The step.
    job_file
        The file of the job; a script of a step without a place is relative to it.
    problems
        Receives folders and scripts that do not exist.
    """
    if isinstance(step, CommandStep):
        return step.code if not step.code or _is_folder(step.code, "code", step, problems) else ""
    task = step.task
    if task is None or (task.code and not _is_folder(task.code, "task.code", step, problems)):
        return ""
    place = step.places.of("task.code")
    file = place.file if place.line else job_file or "job"
    script = Path(task.code or os.path.dirname(os.path.abspath(file))) / task.entry_script
    if not script.is_file():
        hint = nearest_hint(script.name, [item.name for item in script.parent.glob("*.py")])
        message = f"entry_script is {task.entry_script!r}, but there is no file {script}.{hint}"
        problems.append(Problem(step.places.of("task.entry_script"), message))
    return task.code or str(script)


def _is_folder(
    code: str, name: str, step: CommandStep | ParallelStep, problems: list[Problem]
) -> bool:
    if os.path.isdir(code):
        return True
    if not exists(code):
        problems.append(Problem(step.places.of(name), missing_folder(name, code)))
        return False
    message = (
        f"{name} is {code}, which is not a folder of this machine; give the folder of the scripts."
    )
    problems.append(Problem(step.places.of(name), message))
    return False


def includes_of(step: CommandStep | ParallelStep, problems: list[Problem]) -> tuple[str, ...]:
    """Return the files and folders to copy beside a step's scripts."""
    if not isinstance(step, CommandStep):
        return ()
    for position, path in enumerate(step.additional_includes):
        if not os.path.exists(path):
            place = step.places.of(f"additional_includes.{position}")
            message = f"additional_includes has {path}, which does not exist; correct the path."
            problems.append(Problem(place, message))
    return step.additional_includes
