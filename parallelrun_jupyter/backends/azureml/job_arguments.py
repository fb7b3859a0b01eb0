"""Arguments of a script that are files of this machine: a job gets them as side inputs."""

from __future__ import annotations

import os
import re
from dataclasses import replace
from typing import Any

from ...data.datasets.file_dataset import FileDataset
from ...runs.run_record import RunRecord

# Whole words: a tokenizer.json is no secret.
_SECRET = re.compile(
    r"(?<![a-z])(key|secrets?|token|password|credentials?|sas)(?![a-z])|\.(pem|pfx|p12)$",
    re.IGNORECASE,
)


def with_argument_files(record: RunRecord) -> RunRecord:
    """Return a record whose arguments that are local files are side inputs, which are uploaded."""
    sides, arguments = list(record.inputs.side_inputs), list[Any]()
    known = {path for spec in sides for path in spec["paths"]}
    for argument in record.script.arguments:
        path = local_path(record, argument)
        is_file = path and os.path.isfile(path)
        if is_file and path not in known:
            sides.append(FileDataset(path).spec())
            known.add(path)
        arguments.append(path if is_file else argument)
    inputs = replace(record.inputs, side_inputs=sides)
    return replace(record, inputs=inputs, script=replace(record.script, arguments=arguments))


def local_path(record: RunRecord, argument: object) -> str:
    """Return the absolute path of an argument that exists on this machine; empty for others.

    A relative one is of the folder that a single script runs in. The files of a source directory are
    those of the job's code.
    """
    if not isinstance(argument, str) or not argument or "\0" in argument:
        return ""
    if os.path.isabs(argument):
        return argument if os.path.exists(argument) else ""
    path = os.path.normpath(os.path.join(record.script.cwd, argument))
    is_file = record.script.source_directory is None and os.path.isfile(path)
    return path if is_file else ""


def secret_file(record: RunRecord) -> str:
    """Return the first argument that is a local file and looks like a secret; empty if there is none."""
    known = {path for spec in record.inputs.side_inputs for path in spec["paths"]}
    before = ""
    for argument in record.script.arguments:
        path = local_path(record, argument)
        is_file = path and os.path.isfile(path) and path not in known
        if is_file and (_SECRET.search(f"{before}/{os.path.basename(path)}")):
            return str(argument)
        before = argument.strip("-") if isinstance(argument, str) else ""
    return ""
