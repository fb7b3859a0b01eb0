"""The inputs, outputs and changed settings of ``batch_endpoints.invoke``, in the words of files."""

from __future__ import annotations

import os
import posixpath
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...errors import ConfigError
from ...formatting import nearest_hint
from ..execution.assets import Assets
from ..execution.input_tables import mltable_sentence
from ..model.places import Place
from ..model.problems import JobFileError
from .deployment_records import reference

_SETTINGS = (
    "mini_batch_size", "max_concurrency_per_instance", "error_threshold", "output_action",
    "output_file_name", "logging_level", "retry_settings", "environment_variables",
)  # fmt: skip
_INSTANCES = ("instance_count", "compute.instance_count", "resources.instance_count")
_OUTPUT = ("output_dataset.datastore_id", "output_dataset.path")
_LITERALS = ("string", "number", "integer", "boolean")
_NAME = re.compile(r"[^/\\:@]+[:@][^/\\:@]+")
_DATASTORE = re.compile(
    r"(?:azureml:)*/*(?:.*/)?datastores/(?P<name>[^/]+)(?:/paths/(?P<path>.*))?"
)


@dataclass(frozen=True, slots=True)
class Changes:
    """What a call changes in a deployment.

    Parameters
    ----------
    fields
        Values of its file, by dotted name.
    output
        The folder of the output; empty for the run's own.
    """

    fields: dict[str, Any]
    output: str = ""


def changes_of(items: Iterable[Mapping[str, Any]], workspace: Path) -> Changes:
    """Return what ``params_override`` and the other keywords change in a deployment of a model.

    Raises
    ------
    ConfigError
        A name is unknown; the message has those that are.
    """
    fields: dict[str, Any] = {}
    output: dict[str, str] = {}
    for name, value in ((name, value) for item in items for name, value in item.items()):
        plain = name.removeprefix("settings.")
        if name in _INSTANCES:
            fields["resources.instance_count"] = value
        elif plain.split(".")[0] in _SETTINGS:
            fields[f"settings.{plain}"] = value
        elif name in _OUTPUT:
            output[name] = str(value)
        else:
            known = (*_SETTINGS, "instance_count", *_OUTPUT)
            msg = (
                f"invoke() cannot change {name!r}.{nearest_hint(name, known)} It changes: "
                f"{', '.join(known)}. For others, change the deployment."
            )
            raise ConfigError(msg)
    if not output:
        return Changes(fields)
    store = output.get(_OUTPUT[0], "azureml://datastores/_")
    return Changes(
        fields, target_of(f"{store}/paths/{output.get(_OUTPUT[1], '').strip('/')}", workspace)
    )


def target_of(text: str, workspace: Path) -> str:
    """Return the local path or URL of an output, which may be in a datastore.

    Raises
    ------
    JobFileError
        There is no such datastore.
    """
    match = _DATASTORE.fullmatch(text)
    if match is None or "://" in text.removeprefix("azureml:").removeprefix("azureml://"):
        return text if "://" in text else os.path.abspath(os.path.expanduser(text))
    assets = Assets(workspace)
    datastore = assets.datastore("" if match["name"] == "_" else match["name"], Place("outputs"))
    if datastore is None:
        raise JobFileError(assets.problems)
    join = os.path.join if datastore.storage is None else posixpath.join
    return join(datastore.url, (match["path"] or "").strip("/"))


def data_of_model(input_: Any, inputs: Mapping[str, Any] | None) -> str:
    """Return the path or name of the files to score.

    Raises
    ------
    ConfigError
        There is none, or several; it is a literal, or an MLTable.
    """
    given = [input_] if input_ is not None else list((inputs or {}).values())
    if len(given) != 1:
        names = ", ".join(inputs or ()) or "none"
        msg = (
            f"the call has {len(given)} inputs ({names}); a deployment of a model takes one: "
            "input=Input(type='uri_folder', path='data/')."
        )
        raise ConfigError(msg)
    value = value_of(given[0])
    type_ = str(getattr(given[0], "type", None) or "")
    if type_ in _LITERALS or not isinstance(value, str | os.PathLike):
        msg = (
            f"the input is {value!r}, of type {type_ or type(value).__name__}; expected files: "
            "Input(type='uri_folder', path='data/')."
        )
        raise ConfigError(msg)
    if type_ == "mltable":
        raise ConfigError(f"{mltable_sentence(os.fspath(value))}")
    return os.fspath(value)


def value_of(item: Any) -> Any:
    """Return the path of an `Input`, with the prefix of a name, or its literal."""
    type_ = str(getattr(item, "type", None) or "")
    path = getattr(item, "path", None)
    if type_ in _LITERALS and not path:
        return item.default
    if path is None and not isinstance(item, str | os.PathLike):
        return item
    text = os.fspath(path if path is not None else item)
    if type_ in _LITERALS:
        return text
    if text.startswith("/subscriptions/") or (_NAME.fullmatch(text) and not os.path.exists(text)):
        return reference(text)
    return text


def output_of_model(outputs: Mapping[str, Any], workspace: Path) -> Changes:
    """Return the folder of the one output, and the name of its file if the output is a file.

    Raises
    ------
    ConfigError
        There are several.
    """
    if len(outputs) != 1:
        msg = (
            f"the call has the outputs {', '.join(outputs)}; a deployment of a model has one: "
            "outputs={'score': Output(type='uri_folder', path=...)}."
        )
        raise ConfigError(msg)
    (item,) = outputs.values()
    target = target_of(str(value_of(item)), workspace)
    if str(getattr(item, "type", "")) == "uri_file":
        folder, name = os.path.split(target)
        return Changes({"settings.output_file_name": name}, folder)
    return Changes({}, target)
