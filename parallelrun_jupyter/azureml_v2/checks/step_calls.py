"""Checks the calls of ``ParallelRunConfig`` and ``ParallelRunStep`` in a notebook, by reading them."""

from __future__ import annotations

import ast
import os
import re
from collections.abc import Iterator
from typing import Any

from ...config.run_config import field_names
from ...formatting import nearest_hint
from ..model.places import Place
from .code import VALUE, check_arguments, check_entry_script, read_script
from .findings import Findings

CONFIG = "ParallelRunConfig"
STEP = "ParallelRunStep"
_FIELDS = (
    "environment", "entry_script", "error_threshold", "output_action", "compute_target", "node_count",
    "process_count_per_node", "mini_batch_size", "source_directory", "description", "logging_level",
    "run_invocation_timeout", "run_max_try", "append_row_file_name", "allowed_failed_count",
    "allowed_failed_percent", "partition_keys", "environment_variables", "input_format",
)  # fmt: skip
"""The parameters of Azure's class, in its order."""

_RANGES: dict[str, tuple[int, int | None]] = {
    "error_threshold": (-1, None), "allowed_failed_count": (-1, None), "allowed_failed_percent": (0, 100),
    "node_count": (1, None), "process_count_per_node": (1, None), "run_invocation_timeout": (1, None),
    "run_max_try": (1, None),
}  # fmt: skip
_CHOICES = {
    "output_action": ("append_row", "summary_only"),
    "logging_level": ("WARNING", "INFO", "DEBUG"),
}
_REQUIRED = ("environment", "entry_script", "error_threshold", "output_action", "compute_target")
_SIZE = re.compile(r"[1-9]\d*\s*(?:[kKmMgG][bB])?", re.ASCII)
_MAKES_FILES = re.compile(
    r"^\s*!|^\s*%%?(?:bash|sh|cp|mv|run|system|sx|script)\b|write_text|\bopen\(|copy|download|\bgit\b|"
    r"unzip|extractall",
    re.MULTILINE,
)
"""Code that may create files, so that a script which is missing now may exist in the run."""

_UNKNOWN = object()


class Calls:
    """The code of a notebook.

    Parameters
    ----------
    folder
        The folder of the notebook.

    Attributes
    ----------
    written
        The cells that ``%%writefile`` writes, by path.
    """

    def __init__(self, folder: str) -> None:
        self.folder = folder
        self.written: dict[str, str] = {}
        self._cells: list[tuple[ast.Module, str, str]] = []

    def add(self, tree: ast.Module, text: str, file: str) -> None:
        """Add a cell: its code, its text, and its file in messages."""
        self._cells.append((tree, text, file))

    def named(self, name: str) -> Iterator[tuple[ast.Call, str]]:
        """Yield the calls of a class, each with the file of its cell."""
        for tree, _, file in self._cells:
            for node in ast.walk(tree):
                if isinstance(node, ast.Call) and _last(node.func) == name:
                    yield node, file

    def variable_of(self, call: ast.Call) -> str:
        """Return the variable that a call is assigned to; empty for none."""
        for node in self._nodes():
            if isinstance(node, ast.Assign) and node.value is call and len(node.targets) == 1:
                target = node.targets[0]
                return target.id if isinstance(target, ast.Name) else ""
        return ""

    def value(self, node: ast.expr | None) -> Any:
        """Return a literal, or that of a name which is assigned once; `_UNKNOWN` otherwise."""
        if isinstance(node, ast.Name):
            stores = [
                n
                for n in self._nodes()
                if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store) and n.id == node.id
            ]
            assigned = [
                n.value
                for n in self._nodes()
                if isinstance(n, ast.Assign) and any(t in stores for t in n.targets)
            ]
            if len(stores) != 1 or len(assigned) != 1 or isinstance(assigned[0], ast.Name):
                return _UNKNOWN
            node = assigned[0]
        if node is None:
            return _UNKNOWN
        try:
            return ast.literal_eval(node)
        except (ValueError, TypeError, SyntaxError):
            return _UNKNOWN

    def package(self) -> str:
        """Return the package that the configuration is from; empty if that is not clear."""
        modules: set[str] = set()
        for node in self._nodes():
            if isinstance(node, ast.ImportFrom) and not node.level:
                if any(alias.name in {CONFIG, "*"} for alias in node.names):
                    modules.add(str(node.module))
            elif isinstance(node, ast.Import):
                modules |= {alias.name for alias in node.names}
        packages = {module.partition(".")[0] for module in modules}
        found = packages & {"azureml", "parallelrun_jupyter"}
        return found.pop() if len(found) == 1 else ""

    def may_make(self, name: str) -> bool:
        """Return whether a cell may create a file of this name."""
        base = os.path.basename(name)
        texts = [text for _, text, _ in self._cells]
        mentions = sum(text.count(base) for text in texts)
        return mentions > 1 or any(_MAKES_FILES.search(text) for text in texts)

    def _nodes(self) -> Iterator[ast.AST]:
        for tree, _, _ in self._cells:
            yield from ast.walk(tree)


def check_calls(calls: Calls, findings: Findings) -> None:
    """Check the configurations of a notebook, their scripts, and the arguments of the steps."""
    package = calls.package()
    is_azure = package == "azureml"
    scripts: dict[str, tuple[str, str]] = {}
    for call, file in calls.named(CONFIG) if package else ():
        fields = _fields(call, findings, file, is_azure=is_azure)
        if fields is None:
            continue
        if is_azure:
            _check_values(calls, fields, file, findings)
        script = _check_script(calls, fields, file, findings) if is_azure else None
        if script is not None:
            scripts[calls.variable_of(call)] = script
    for call, file in calls.named(STEP):
        given = {keyword.arg: keyword.value for keyword in call.keywords}
        config, arguments = given.get("parallel_run_config"), given.get("arguments")
        name = config.id if isinstance(config, ast.Name) else ""
        if name not in scripts or not (arguments is None or isinstance(arguments, ast.List)):
            continue
        script_name, source = scripts[name]
        elements = arguments.elts if arguments is not None else []
        if any(isinstance(element, ast.Starred) for element in elements) or None in given:
            continue
        words = [_word(calls.value(element)) for element in elements]
        check_arguments(source, words, (_place(file, arguments or call), script_name, "arguments"), findings)  # fmt: skip


def _word(value: Any) -> str:
    return VALUE if value is _UNKNOWN else str(value)


def _fields(
    call: ast.Call, findings: Findings, file: str, *, is_azure: bool
) -> dict[str, ast.expr] | None:
    """Return the arguments of a call by name; None if some are not known."""
    if any(isinstance(arg, ast.Starred) for arg in call.args) or None in {
        keyword.arg for keyword in call.keywords
    }:
        return None
    names = _FIELDS if is_azure else tuple(field_names())
    if len(call.args) > len(names):
        return None
    fields = dict(zip(names, call.args, strict=False)) if is_azure else {}
    for keyword in call.keywords:
        if keyword.arg not in names:
            hint = nearest_hint(str(keyword.arg), names) or f" Its parameters are: {', '.join(names)}."  # fmt: skip
            message = f"{keyword.arg!r} is not a parameter of {CONFIG}.{hint}"
            findings.error(_place(file, keyword), message)
        fields[str(keyword.arg)] = keyword.value
    if is_azure:
        for name in _REQUIRED:
            if name not in fields:
                message = f"{CONFIG} has no {name}, which Azure requires. Add {name}=..."
                findings.error(_place(file, call), message)
    return fields


def _check_values(calls: Calls, fields: dict[str, ast.expr], file: str, findings: Findings) -> None:
    for name, node in fields.items():
        value = calls.value(node)
        if value is _UNKNOWN or value is None:
            continue
        message = _wrong_value(name, value)
        if message:
            findings.error(_place(file, node), message)
    size, keys = (calls.value(fields.get(name)) for name in ("mini_batch_size", "partition_keys"))
    if size not in (_UNKNOWN, None) and keys not in (_UNKNOWN, None):
        message = "mini_batch_size and partition_keys are both set. Remove one: with keys, each combination is a mini-batch."
        findings.error(_place(file, fields["partition_keys"]), message)


def _wrong_value(name: str, value: Any) -> str:
    """Return why a value is wrong; empty if it is not."""
    if name in _RANGES:
        low, high = _RANGES[name]
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if not is_number or value < low or (high is not None and value > high):
            expected = f"a number from {low}" + (f" to {high}" if high is not None else "")
            return f"{name} is {value!r}; expected {expected}."
    if name in _CHOICES:
        choices = _CHOICES[name]
        if str(value).lower() not in {choice.lower() for choice in choices}:
            hint = nearest_hint(str(value), choices)
            return f"{name} is {value!r}; expected one of {', '.join(choices)}.{hint}"
    if name == "mini_batch_size" and not _SIZE.fullmatch(str(value).strip()):
        return f"mini_batch_size is {value!r}; expected 5 (files), '10KB' or '1MB' (of a table)."
    if name == "partition_keys" and not isinstance(value, list):
        return f"partition_keys is {value!r}; expected a list of names, such as ['store', 'brand']."
    return ""


def _check_script(
    calls: Calls, fields: dict[str, ast.expr], file: str, findings: Findings
) -> tuple[str, str] | None:
    """Check the entry script; return its name and text, None if they are not known."""
    script = calls.value(fields.get("entry_script"))
    folder = calls.value(fields["source_directory"]) if "source_directory" in fields else ""
    if not isinstance(script, str) or not isinstance(folder, str | None):
        return None
    name = os.path.normpath(os.path.join(folder or "", script.strip()))
    written = calls.written.get(name)
    if written is not None:
        source = "#" + written.lstrip()
        check_entry_script(source, name, findings)
        return script, source
    path = os.path.join(calls.folder, name)
    if not os.path.isfile(path) and (calls.may_make(name) or os.path.isabs(name)):
        return None
    place = _place(file, fields["entry_script"])
    text = read_script(path, place, f"entry_script is {script!r}", findings)
    if text is None:
        return None
    check_entry_script(text, path, findings)
    return script, text


def _place(file: str, node: Any) -> Place:
    return Place(file, node.lineno, node.col_offset + 1)


def _last(node: ast.expr) -> str:
    return node.attr if isinstance(node, ast.Attribute) else getattr(node, "id", "")
