"""The entry script of a new run: a file, the text of a cell, or functions of the notebook."""

from __future__ import annotations

import types
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ..config.call_form import CallForm, form_of_function
from ..config.entry_function import functions_of
from .cells import notebook_name

FUNCTIONS = "_functions"
"""The global variable of a generated script that holds the functions, by role."""

_MAX_FUNCTIONS = 200


@dataclass(frozen=True, slots=True)
class Script:
    """An entry script.

    Parameters
    ----------
    path
        The file; for a text, the place of a file of its name.
    text
        The text of a cell, or a generated one; None for a file.
    source_directory
        The folder to copy into the run.
    uses
        Variables that it gets by value.
    title
        Its name in the run's default name. Default: that of the file.
    preload
        Modules that it imports besides those in its text.
    call
        What a call of the function of `map` or `map_batches` gets; empty for other scripts.
    form
        The form of its ``run()``. Default: as its text says.
    """

    path: Path
    text: str | None = None
    source_directory: Path | None = None
    uses: Mapping[str, Any] = field(default_factory=dict)
    title: str = ""
    preload: tuple[str, ...] = ()
    call: str = ""
    form: CallForm | None = None

    def source(self) -> str:
        """Return its text; that of a file is read."""
        return self.text or self.path.read_text(encoding="utf-8-sig")


def script_of_functions(
    functions: Mapping[str, Callable[..., Any]],
    title: str,
    text: str = "",
    source_directory: Path | None = None,
) -> Script:
    """Return a script that gets functions of the notebook by value.

    Parameters
    ----------
    functions
        The functions by role. All of them share their global variables in a worker, so that ``run``
        sees the variables that ``init`` sets.
    title
        The name of the function, for the run's default name and its script.
    text
        The text of the script, which may use the dict `FUNCTIONS`. Default: each function under the
        name of its role.
    source_directory
        The folder to copy into the run.
    """
    if not text:
        text = "".join(f"{role} = {FUNCTIONS}[{role!r}]\n" for role in functions)
    head = (
        f"# Generated: calls the function {title} of {_origin(functions)}, which was given by value.\n"
        f"# The functions are in uses/{FUNCTIONS}.pickle of the run, and their source beside it.\n"
    )
    # Not the function's own name: a module of that name must stay importable.
    name = f"{title}_entry.py" if title.isidentifier() else "entry.py"
    folder = source_directory or Path.cwd()
    return Script(
        folder / name,
        text=head + text,
        source_directory=source_directory,
        uses={FUNCTIONS: dict(functions)},
        title=title,
        preload=("cloudpickle", *modules_of(functions.values())),
    )


def script_of_entry(run: Any, source_directory: Path | None = None) -> Script:
    """Return the script of a function that `entry` has marked."""
    script = script_of_functions(functions_of(run), run.__name__, source_directory=source_directory)
    return replace(script, form=form_of_function(run))


def _origin(functions: Mapping[str, Callable[..., Any]]) -> str:
    modules = {getattr(function, "__module__", None) for function in functions.values()}
    if modules <= {"__main__", None}:
        name = notebook_name()
        return f"the notebook {name}" if name.endswith(".ipynb") else "the notebook"
    return f"the module {min(filter(None, modules))}"


def modules_of(functions: Iterable[Any]) -> list[str]:
    """Return the modules that functions of the notebook use, also through others, sorted."""
    found: set[str] = set()
    waiting, seen = list(functions), set[int]()
    while waiting and len(seen) < _MAX_FUNCTIONS:
        value = waiting.pop()
        if id(value) in seen:
            continue
        seen.add(id(value))
        is_module = isinstance(value, types.ModuleType)
        module = value.__name__ if is_module else getattr(value, "__module__", None)
        if module not in {"__main__", "builtins", None}:
            found.add(module)
        elif isinstance(value, types.FunctionType):
            names = [name for code in codes_of(value.__code__) for name in code.co_names]
            waiting += [
                used
                for name in names
                if isinstance(
                    used := value.__globals__.get(name),
                    types.ModuleType | types.FunctionType | type,
                )
            ]
    return sorted(found)


def codes_of(code: types.CodeType) -> Iterator[types.CodeType]:
    """Yield the code of a function and of those inside it."""
    yield code
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from codes_of(constant)
