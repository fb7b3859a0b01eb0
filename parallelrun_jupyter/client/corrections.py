"""Corrections for a resume: another entry script or other functions in place of the run's."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..config.entry_script import check_script
from ..data.datasets.memory_dataset import StoredDataset
from ..errors import ConfigError, EntryScriptError
from ..runs.run_folder import RunFolder
from ..runs.run_record import RunRecord
from ..worker.function_script import KEYWORDS
from ..worker.output.formats import OBJECTS
from .function_calls import Functions, calling_script
from .script import Script

if TYPE_CHECKING:
    from .by_value import Packed


@dataclass(frozen=True, slots=True)
class Corrected:
    """A corrected entry script that has replaced the run's.

    ``before`` has the copy of each file or folder that was replaced.
    """

    before: Mapping[Path, Path]
    digest: str

    def restore(self) -> None:
        """Restore the earlier script."""
        for target, before in self.before.items():
            if target.is_dir():
                shutil.rmtree(target)
            os.replace(before, target)


def correction(
    record: RunRecord,
    entry_script: str | os.PathLike[str] | None,
    functions: Functions | None,
) -> Callable[[RunFolder], Corrected] | None:
    """Return how to replace the script of a run; None if it is kept.

    Raises
    ------
    ConfigError
        The correction is not of the kind of the run's script, or the function cannot be called so.
    """
    if entry_script is not None and record.script.call:
        msg = (
            f"run {record.run_id} calls a function, and entry_script is {str(entry_script)!r}; give the "
            "corrected function: run.resume(function=...)."
        )
        raise ConfigError(msg)
    if functions is not None and not record.script.call:
        msg = (
            f"run {record.run_id} has an entry script, and function is {functions.function!r:.80}; give "
            "the corrected script: run.resume(entry_script='fixed.py')."
        )
        raise ConfigError(msg)
    if entry_script is not None:
        return partial(_replace_script, record=record, path=Path(entry_script))
    if functions is not None:
        functions = replace(functions, call=record.script.call)
        first = _first_item(record) if functions.call == KEYWORDS else None
        functions.check(first)
        keeps_objects = record.output.format == OBJECTS
        script = calling_script(functions, first, keeps_objects=keeps_objects)
        from .by_value import pack_all  # cloudpickle takes a while to import

        packed = pack_all(script.uses, is_plain=record.script.python != record.driver_python)
        return partial(_replace_functions, record=record, script=script, packed=packed)
    return None


def corrected_functions(function: Any, init: Any, shutdown: Any) -> Functions | None:
    """Return the corrected functions of a resume; None if there are none."""
    if function is None and (init is not None or shutdown is not None):
        msg = "resume() got init or shutdown without function; give the function, too: it shares their variables."
        raise ConfigError(msg)
    return None if function is None else Functions("resume", "", function, init, shutdown)


def _first_item(record: RunRecord) -> Any:
    return next(iter(next(StoredDataset(record.inputs.datasets[0]).parts())))


def _replace_script(folder: RunFolder, record: RunRecord, path: Path) -> Corrected:
    """Replace the run's script by a corrected one; keep the earlier one beside it."""
    path = path.expanduser().absolute()
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        msg = f"the corrected entry script {path} could not be read: {error}"
        raise EntryScriptError(msg) from error
    if record.script.python == record.driver_python:
        check_script(text, path.name)
    target = folder.script / record.script.path
    before = _name_before(target)
    shutil.copyfile(target, before)
    shutil.copyfile(path, target)
    return Corrected({target: before}, hashlib.sha256(target.read_bytes()).hexdigest())


def _replace_functions(
    folder: RunFolder, record: RunRecord, script: Script, packed: Mapping[str, Packed]
) -> Corrected:
    """Replace the run's functions, and the script that calls them; keep the earlier ones."""
    target, text = folder.script / record.script.path, script.text or ""
    before = {path: _name_before(path) for path in (target, folder.uses)}
    for path, copy in before.items():
        os.replace(path, copy)
    target.write_text(text, encoding="utf-8")
    from .by_value import write

    write(folder.uses, packed)
    digest = hashlib.sha256(text.encode())
    for one in packed.values():
        digest.update(one.stream)
    return Corrected(before, digest.hexdigest())


def _name_before(target: Path) -> Path:
    number = 1 + len(list(target.parent.glob(f"{target.name}.*.before")))
    return target.with_name(f"{target.name}.{number}.before")
