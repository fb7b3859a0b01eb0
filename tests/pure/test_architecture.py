"""The architecture holds: allowed imports, sizes of modules, the cost of a start."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

PACKAGE = Path(__file__).parents[2] / "parallelrun_jupyter"
MODULES = sorted(PACKAGE.rglob("*.py"))

FLOORS = (
    ("errors", "files", "version", "worker"),
    ("formatting", "home", "machine"),
    ("data", "environment", "runs"),
    ("config",),
    ("engine", "views"),
    ("notebook",),
    ("backends",),
    ("client",),
    ("pipelines",),
    ("azureml_v2",),
    ("azureml", "commands", "server"),
    ("__init__", "__main__"),
)
"""From the ground up. A file imports from floors below, or from its own folder without circles."""

EXCEPTION_EDGES = {
    "engine/driver.py",  # the driver's top: the journal has whatever it is
    "backends/dask/__init__.py",  # calls a cluster's class for the thread that waits for it
    "backends/dask/cluster.py",  # the cluster's own package, which may raise anything
    "client/by_value.py",  # the user's own objects, whose pickling may raise anything
    "data/memory_files.py",  # the user's own values, whose pickling may raise anything
    "runs/output/unreadable_values.py",  # the user's own classes, whose unpickling may raise anything
    "runs/output/value_keys.py",  # the user's own classes, whose parts may raise anything
    "azureml_v2/local_client/azure_objects.py",  # azure-ai-ml's conversion, which may raise anything
    "backends/dask/node.py",  # a node's top: its driver is told whatever it is
}
"""Beside the worker, around the user's code, the only places that catch Exception."""


def name_of(path: Path) -> str:
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts)


def floor_of(module: str) -> int:
    top = module.split(".")[0]
    return next(number for number, rooms in enumerate(FLOORS) if top in rooms)


def imports_of(path: Path) -> set[str]:
    """Return the modules of ours that a file imports anywhere, functions and hints included."""
    known = {name_of(p) for p in MODULES}
    package = path.relative_to(PACKAGE).parent.parts
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.level:
            base = package[: len(package) - node.level + 1]
            start = ".".join((*base, *(node.module or "").split("."))).strip(".")
            for alias in node.names:
                full = f"{start}.{alias.name}".strip(".")
                found.add(full if full in known else start or "__init__")
        elif isinstance(node, ast.ImportFrom | ast.Import):
            names = (
                [node.module] if isinstance(node, ast.ImportFrom) else [a.name for a in node.names]
            )
            assert not [n for n in names if n and n.startswith("parallelrun_jupyter")], path
    return found - {name_of(path)}


GRAPH = {name_of(path): imports_of(path) for path in MODULES}


@pytest.mark.parametrize("module", sorted(GRAPH))
def test_nobody_imports_upwards(module: str) -> None:
    for target in GRAPH[module]:
        same_room = target.split(".")[0] == module.split(".")[0]
        allowed = floor_of(target) < floor_of(module) or same_room
        assert allowed, f"{module} (floor {floor_of(module)}) imports {target}"


def test_there_are_no_circles() -> None:
    done: set[str] = set()

    def visit(module: str, above: tuple[str, ...]) -> None:
        assert module not in above, f"circle: {' -> '.join((*above, module))}"
        if module not in done:
            for target in GRAPH.get(module, ()):
                visit(target, (*above, module))
            done.add(module)

    # The package's own __init__ loads names lazily; another test checks these names.
    for module in GRAPH:
        if module != "__init__":
            visit(module, ())


def test_separate_worlds_stay_separate() -> None:
    for module, targets in GRAPH.items():
        tops = {target.split(".")[0] for target in targets}
        if module.startswith("worker"):
            assert tops <= {"worker"}, module
        if module.startswith("engine"):
            assert "backends" not in tops, module
        if module.startswith(("views", "notebook", "server")):
            assert "engine" not in tops, module
        if not module.startswith(("azureml_v2", "commands")):
            assert "azureml_v2" not in tops, module
        if module != "azureml":
            assert "azureml" not in tops - {module.split(".")[0]}, module
        if "runs.journal.files" in targets and not module.startswith("runs"):
            writes = "JournalWriter" in (PACKAGE / f"{module.replace('.', '/')}.py").read_text()
            assert not writes or module == "engine.output.committer", module


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_rooms_and_functions_are_small(path: Path) -> None:
    text = path.read_text()
    assert text.count("\n") <= 500
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            body = node.body[1:] if ast.get_docstring(node) else node.body
            lines = (node.end_lineno or 0) - (body[0].lineno if body else node.lineno) + 1
            assert lines <= 50, f"{node.name} has {lines} lines"


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_exceptions_are_caught_by_name(path: Path) -> None:
    module = str(path.relative_to(PACKAGE))
    if module.startswith("worker/") or module in EXCEPTION_EDGES:
        return
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ExceptHandler):
            assert node.type is not None, f"{module}:{node.lineno}: bare except"
            caught = ast.unparse(node.type)
            assert not re.search(r"\b(Base)?Exception\b", caught), f"{module}:{node.lineno}"


WORKER = sorted((PACKAGE / "worker").rglob("*.py"))
OLD_STDLIB = frozenset(
    [
        "__future__",
        "email",
        "threading",
        "queue",
        "select",
        "math",
        "contextvars",
        "collections",
        "asyncio",
        "_thread",
        "array",
        "base64",
        "copy",
        "ctypes",
        "datetime",
        "faulthandler",
        "fcntl",
        "functools",
        "gc",
        "glob",
        "importlib",
        "inspect",
        "io",
        "itertools",
        "json",
        "logging",
        "linecache",
        "mmap",
        "os",
        "pickle",
        "re",
        "reprlib",
        "runpy",
        "shutil",
        "signal",
        "socket",
        "stat",
        "struct",
        "sys",
        "termios",
        "time",
        "traceback",
        "uuid",
        "zlib",
    ]
)
"""Standard library modules of the worker; every one of these is in Python 3.7."""

NEWER = {"context_argument.py": {"annotationlib"}}
"""Standard library modules behind a check of the version."""

FOR_TABLES = {
    "azureml/data.py": {"pandas"},
    "azureml/mlflow_entry.py": {"PIL", "csv", "mlflow", "numpy", "pandas"},
    "memory_items.py": {"numpy", "pandas", "pyarrow"},
    "output/arrow_tables.py": {"pyarrow"},
    "output/column_notes.py": {"pandas"},
    "output/formats.py": {"pandas"},
    "output/objects.py": {"cloudpickle", "numpy", "pandas", "pyarrow"},
    "tables/assumed_types.py": {"numpy"},
    "tables/delimited.py": {"numpy"},
    "tables/field_grid.py": {"numpy"},
    "tables/number_forms.py": {"numpy"},
    "tables/pandas_types.py": {"numpy"},
    "tables/reader.py": {"pandas"},
    "tables/parquet.py": {"pyarrow"},
    "tables/row_splitter.py": {"numpy"},
    "tables/table_columns.py": {"numpy"},
    "tables/wide_frame.py": {"numpy"},
}
"""Modules that are imported for tabular input only, inside functions."""


@pytest.mark.parametrize("path", WORKER, ids=name_of)
def test_the_worker_is_python_37_and_standard_library_only(path: Path) -> None:
    tree = ast.parse(path.read_text(), feature_version=(3, 7))
    for node in ast.walk(tree):
        assert not isinstance(node, ast.NamedExpr | ast.Match)
        if isinstance(node, ast.FunctionDef):
            assert not node.args.posonlyargs, f"{path.name}:{node.lineno}"
        if isinstance(node, ast.JoinedStr):
            assert "=}" not in ast.unparse(node)
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name.split(".")[0] for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and not node.level:
            names = [(node.module or "").split(".")[0]]
        allowed = (
            OLD_STDLIB
            | {"typing"}
            | FOR_TABLES.get(str(path.relative_to(PACKAGE / "worker")), set())
            | NEWER.get(path.name, set())
        )
        assert set(names) <= allowed, f"{path.name}: {names}"
    for node in tree.body:
        if isinstance(node, ast.Import):
            assert {alias.name.split(".")[0] for alias in node.names} <= OLD_STDLIB, path.name
    text = path.read_text()
    assert "from typing" not in text or "TYPE_CHECKING = False" in text


def loaded_by(code: str) -> set[str]:
    program = f"import sys; {code}; print('\\n'.join(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    return {name.split(".")[0] for name in done.stdout.split()}


HEAVY = {"IPython", "ipywidgets", "anywidget", "pandas", "numpy", "pyarrow", "dask", "distributed",
         "azure", "fsspec", "adlfs", "aiohttp", "keyring", "rich", "traitlets", "yaml", "psutil", "asyncio"}  # fmt: skip


@pytest.mark.parametrize(
    ("code", "allowed"),
    [
        ("import parallelrun_jupyter", set()),
        ("from parallelrun_jupyter.client import launcher", set()),
        (
            "from parallelrun_jupyter import submit, Run, ParallelRunConfig",
            {"traitlets", "asyncio"},
        ),
    ],
)
def test_a_start_imports_nothing_heavy(code: str, allowed: set[str]) -> None:
    assert loaded_by(code) & HEAVY <= allowed


def test_every_public_name_is_there_and_sorted() -> None:
    import parallelrun_jupyter

    names = parallelrun_jupyter.__all__
    assert names == sorted(names)
    assert len(names) <= 25
    for name in names:
        assert getattr(parallelrun_jupyter, name).__doc__ or name == "__version__"
    assert not hasattr(parallelrun_jupyter, "nothing_of_that_name")


def test_errors_form_the_tree_that_is_drawn() -> None:
    import pickle

    from parallelrun_jupyter import errors

    drawn = set(re.findall(r"[├└]── (\w+)", errors.__doc__ or ""))
    defined = {
        name
        for name, value in vars(errors).items()
        if isinstance(value, type) and issubclass(value, Exception)
    }
    assert drawn == defined - {"ParallelRunError"}
    for name in defined:
        error = getattr(errors, name)("A message.", "7", remedy=[errors.Remedy.CANCEL])
        assert isinstance(error, errors.ParallelRunError)
        copy = pickle.loads(pickle.dumps(error))
        assert str(copy) == "A message. run.cancel() ends it."
        assert copy.run_id == "7"
        assert str(getattr(errors, name)("a message")) == "a message"


@pytest.mark.parametrize(
    ("interface", "sentence"),
    [
        ("python", "It is active. run.wait_for_completion() waits until it ends, run.cancel() ends it."),
        ("terminal", "It is active. 'parallelrun watch 7' waits until it ends, 'parallelrun cancel 7' ends it."),
        ("cell", "It is active. run.wait_for_completion() waits until it ends, %parallelrun cancel 7 ends it."),
        ("panel", "It is active. Cancel ends it."),
    ],
)  # fmt: skip
def test_each_interface_words_a_remedy(interface: Any, sentence: str) -> None:
    from parallelrun_jupyter.errors import Remedy, RunFolderError

    error = RunFolderError("It is active.", "7", remedy=[Remedy.WAIT, Remedy.CANCEL])
    assert error.worded(interface) == sentence


def test_a_public_name_is_no_module() -> None:
    code = (
        "import parallelrun_jupyter.commands.magics, parallelrun_jupyter.commands.cli, parallelrun_jupyter as p, types;"
        "assert not [n for n in p.__all__ if isinstance(getattr(p, n), types.ModuleType)]"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
