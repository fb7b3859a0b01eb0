"""The environment of a job in Azure ML: as given, or the packages that the user's code imports."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import os
import pickletools
import shutil
import sys
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import yaml

from ...config.azureml_compute import DEFAULT_IMAGE, PREFIX, AzureMLCompute
from ...config.imported_modules import imported_modules
from ...runs.run_folder import RunFolder
from ...runs.run_record import RunRecord
from ...worker.output.formats import OBJECTS, PARQUET
from ...worker.uses import PATHS, SOURCE_SUFFIX

AZURE_PACKAGES = (
    "azureml-core",
    "azureml-dataset-runtime[fuse]",
    "azureml-telemetry",
    "mlflow-skinny",
)
"""What Azure's runtime of parallel jobs needs in the environment.

They are those of the conda files of Azure's examples (azureml-examples, ``cli/jobs/parallel``), with two
changes: ``[pandas]`` is left out, since it allows pandas before 2 only, and ``mlflow`` is its small part.
"""

_LIMITS = {"numpy": "2.3.3", "pyarrow": "24.0.0", "packaging": "26.0", "cloudpickle": "3.0.0"}
"""Versions that those packages do not allow any more."""

_NOT_PACKAGES = {"parallelrun_jupyter", "azureml", "azureml_user", "mlflow"}
"""Modules that the job has without a package of their own."""

_OF_CONTAINERS = {
    "frame": ("pandas", "pyarrow"),
    "series": ("pandas", "pyarrow"),
    "table": ("pyarrow",),
    "array": ("numpy",),
}
_OF_TABLES = {"delimited": ("pandas",), "json_lines": ("pandas",), "parquet": ("pandas", "pyarrow")}

CARRIED = "cloudpickle"
"""The package that a job carries itself: functions are read by the version that has written them."""


def environment_of(folder: RunFolder, record: RunRecord, target: Path) -> str | dict[str, Any]:
    """Return the environment of the job's file; write its conda file into the job's folder.

    Raises
    ------
    OSError
        The conda file cannot be read or written.
    """
    compute = AzureMLCompute.of_spec(record.placement.compute)
    given = compute.environment
    if isinstance(given, str) and given.startswith(PREFIX):
        return given
    image = given["image"] if isinstance(given, dict) else DEFAULT_IMAGE
    conda = compute.conda_file
    if conda is None and given is not None:
        return {"image": image}
    place = target / "environment" / "conda.yml"
    place.parent.mkdir()
    if isinstance(conda, str):
        shutil.copyfile(conda, place)
    else:
        content = conda if conda is not None else conda_of(folder, record)
        place.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
    return {"image": image, "conda_file": "./environment/conda.yml"}


def conda_of(folder: RunFolder, record: RunRecord) -> dict[str, Any]:
    """Return a conda file with the packages that the code of a run imports, in the versions here."""
    names = _imported(folder, record)
    packages = sorted({*AZURE_PACKAGES, *filter(None, map(_requirement_of, names))})
    version = ".".join(map(str, sys.version_info[:2]))
    return {
        "name": "parallelrun",
        "channels": ["conda-forge"],
        "dependencies": [f"python={version}", "pip", {"pip": packages}],
    }


def own_modules(folder: RunFolder, record: RunRecord) -> Iterator[tuple[str, str]]:
    """Yield the files of modules beside the script or the notebook that the code imports.

    Yields
    ------
    tuple
        The path, and the path relative to the folder of the script.
    """
    seen: set[str] = set()
    waiting = list(_names_in_code(folder, record))
    while waiting:
        name = waiting.pop()
        if name in seen:
            continue
        seen.add(name)
        for root in _own_folders(folder, record):
            for path in _files_of_module(root, name):
                yield path, os.path.relpath(path, root)
                waiting += imported_modules(_text(path))


def carried_packages(record: RunRecord) -> Iterator[str]:
    """Yield the folders of the packages that the job carries itself."""
    if any(record.script.uses.values()) or record.output.format == OBJECTS:
        spec = importlib.util.find_spec(CARRIED)
        if spec is not None and spec.origin is not None:
            yield os.path.dirname(spec.origin)


def _imported(folder: RunFolder, record: RunRecord) -> set[str]:
    """Return the names of the modules that a run needs, of the first level."""
    names = set(_names_in_code(folder, record))
    for path, _ in own_modules(folder, record):
        names.update(imported_modules(_text(path)))
    for spec in record.inputs.datasets:
        names.update(_OF_CONTAINERS.get(spec.get("container", ""), ()))
        names.update(_OF_TABLES.get(spec.get("form", ""), ()))
    if record.output.format == PARQUET:
        names.add("pyarrow")
    own = {
        name.removesuffix(".py")
        for root in [str(folder.script), *_own_folders(folder, record)]
        for name in _names_in(root)
    }
    return names - own - {CARRIED}


def _names_in(folder: str) -> list[str]:
    try:
        return os.listdir(folder)
    except OSError:
        return []


def _names_in_code(folder: RunFolder, record: RunRecord) -> set[str]:
    """Return the modules that the snapshot and the values given to the script import."""
    names: set[str] = set()
    for path in sorted(folder.script.rglob("*.py")):
        names.update(imported_modules(_text(str(path))))
    if record.script.uses:
        for path in folder.uses.iterdir():
            if path.suffix == SOURCE_SUFFIX:
                names.update(imported_modules(_text(str(path))))
            elif path.suffix == ".pickle":
                names.update(_modules_in_pickle(path.read_bytes()))
    for spec in record.inputs.datasets:
        if spec.get("kind") == "memory" and spec.get("form") == "pickles":
            names.update(_modules_in_items(spec))
    return names


def _own_folders(folder: RunFolder, record: RunRecord) -> list[str]:
    """Return the folders of this machine that the user's own modules may be in."""
    folders = []
    if record.script.source_directory is None:
        folders.append(record.script.cwd)
    paths = folder.uses / PATHS
    if record.script.uses and paths.exists():
        folders += json.loads(paths.read_text(encoding="utf-8"))
    libraries = [os.path.realpath(path) for path in (sys.prefix, sys.base_prefix)]
    return [
        path
        for path in dict.fromkeys(folders)
        if not any(os.path.realpath(path).startswith(library) for library in libraries)
    ]


def _files_of_module(root: str, name: str) -> Iterator[str]:
    """Yield the Python files of a module or a package in a folder."""
    path = os.path.join(root, name)
    if os.path.isfile(f"{path}.py"):
        yield f"{path}.py"
    elif os.path.isfile(os.path.join(path, "__init__.py")):
        yield from map(str, sorted(Path(path).rglob("*.py")))


def _text(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError):
        return ""


def _modules_in_items(spec: dict[str, Any]) -> set[str]:
    """Return the modules that the first items of a variable need."""
    with open(spec["path"], "rb") as file:
        data = file.read(1 << 20)
    names: set[str] = set()
    start = data.find(b"\x80")
    while start >= 0 and not names and start < 4096:
        names = _modules_in_pickle(data[start:])
        start = data.find(b"\x80", start + 1)
    return names


def _modules_in_pickle(data: bytes) -> set[str]:
    """Return the modules of the first level that a pickle imports when it is loaded.

    Text that is the argument of another operation may be among them; it is dropped later, unless a
    package of that name is installed.
    """
    names: set[str] = set()
    texts: list[str] = []
    memo: dict[Any, str] = {}
    with suppress(ValueError, UnicodeDecodeError):  # the data may end in the middle of a pickle
        for opcode, argument, _ in pickletools.genops(data):
            if opcode.name in {"GLOBAL", "INST"}:
                names.add(str(argument).split(" ")[0])
            elif "UNICODE" in opcode.name:
                texts.append(str(argument))
            elif opcode.name == "MEMOIZE":
                memo[len(memo)] = texts[-1] if texts else ""
            elif opcode.name in {"BINGET", "LONG_BINGET"}:
                texts.append(memo.get(argument, ""))
            elif opcode.name == "STACK_GLOBAL":
                names.update(texts[-2:-1])
            elif opcode.name == "REDUCE":
                names.update(texts[-1:])  # the only argument of cloudpickle's subimport is a module
    return {name.partition(".")[0] for name in names if name}


def _requirement_of(module: str) -> str:
    """Return the requirement of the package of a module; empty if it needs none, or is not known."""
    if module in sys.stdlib_module_names or module in _NOT_PACKAGES:
        return ""
    distributions = importlib.metadata.packages_distributions().get(module, [])
    names: Iterable[str] = dict.fromkeys(distributions)
    for name in names:
        version = importlib.metadata.version(name)
        limit = _LIMITS.get(name.lower())
        if limit is not None and _numbers(version) >= _numbers(limit):
            return f"{name}<{limit}"
        return f"{name}=={version}"
    return ""


def _numbers(version: str) -> list[int]:
    return [int(part) for part in version.partition("+")[0].split(".") if part.isdigit()]
