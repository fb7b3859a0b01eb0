"""Checks the code of a step: folders, scripts, their arguments and their modules."""

from __future__ import annotations

import ast
import os
import re
import shlex

from ...config.entry_script import script_mistakes
from ...config.script_arguments import wrong_arguments
from ...formatting import nearest_hint
from ..model.expressions import Binding, OptionalPart, Text
from ..model.jobs import CommandStep, ParallelStep
from ..model.places import Place
from ..model.values import Environment
from ..reader.fields import exists, missing_folder, near_path
from .findings import Findings
from .packages import missing_modules, package_of
from .scopes import UNKNOWN, Known, Scope, known_input

VALUE = "..."
"""Stands for the value of an argument that is known only in a run."""

_PYTHON = re.compile(r"python3?(?: -u)? (?P<script>[\w./-]+\.py)(?P<arguments>[^|&;<>\n`]*)")
_SET_BY_AZURE = re.compile(
    r"--(?:error_threshold|allowed_failed_\w+|task_overhead_timeout|progress_update_timeout|"
    r"first_task_creation_timeout|copy_logs_to_parent|metrics_name_prefix|push_metrics_to_parent|"
    r"resource_monitor_interval?)(?:=.*)?"
)


def check_parallel_code(step: ParallelStep, scope: Scope, findings: Findings) -> None:
    """Check the entry script of a parallel step, and its environment."""
    task = step.task
    if task is None:
        return
    check_environment(task.environment, findings)
    if step.places.has("additional_includes"):
        return  # files of other folders are added to the code
    if not _check_folder(task.code, step.places.of("task.code"), "task.code", findings):
        return
    if not task.code or not os.path.isdir(task.code) or not task.entry_script:
        return
    place = step.places.of("task.entry_script")
    path = os.path.join(task.code, task.entry_script)
    source = read_script(path, place, f"entry_script is {task.entry_script!r}", findings)
    if source is None:
        return
    check_entry_script(source, path, findings)
    check_modules(source, path, task.code, task.environment, findings)
    if task.append_row_to is None and not step.outputs and returns_rows(source):
        message = (
            "run() returns rows, but the step has no outputs, so they are lost. Add "
            "'append_row_to: ${{outputs.rows}}', and 'rows: {type: uri_file}' to the outputs."
        )
        findings.warn(step.places.of("task"), message)
    words = _words(task.program_arguments, step, scope) if task.program_arguments else []
    if task.program_arguments is None and task.places.has("program_arguments"):
        return  # an expression in them is malformed
    if words is not None:
        at = task.program_arguments.place if task.program_arguments else place
        check_arguments(source, words, (at, task.entry_script, "program_arguments"), findings)


def check_command_code(step: CommandStep, scope: Scope, findings: Findings) -> None:
    """Check the folder of a command step, the script that its command runs, and its environment."""
    check_environment(step.environment, findings)
    if step.places.has("additional_includes"):
        return  # files of other folders are added to the code
    if not _check_folder(step.code, step.places.of("code"), "code", findings):
        return
    text = step.command
    if text is None:
        return
    _check_no_code(text, step.code, findings)
    call = _only_call(text)
    if call is None or not os.path.isdir(step.code):
        return
    script = call["script"]
    path = os.path.join(step.code, script)
    source = read_script(path, text.place, f"the command runs {script!r}", findings)
    if source is None:
        return
    check_modules(source, path, step.code, step.environment, findings)
    if _has_words_in_values(text, step, scope):
        return
    try:
        words = shlex.split(call["arguments"])
    except ValueError:
        return
    if "$" not in call["arguments"]:
        wrong = wrong_arguments(source, words, runs_main=True)
        if wrong is not None:
            message = (
                f"{script} would refuse the arguments of the command (its line {wrong.line}): "
                f"{wrong.message}. Change the command, or the script's add_argument(...)."
            )
            findings.error(text.place, message)


def _only_call(text: Text) -> re.Match[str] | None:
    """Return the call of a script, if a command has only one, and the script is in its folder."""
    if re.search(r"\b(?:cd|cp|mv|wget|curl|git)\b", text.raw):
        return None
    calls = list(_PYTHON.finditer(_flat(text)))
    return calls[0] if len(calls) == 1 and not os.path.isabs(calls[0]["script"]) else None


def _check_no_code(text: Text, code: str, findings: Findings) -> None:
    """Check that a command without code does not begin with a script of its empty folder."""
    call = _PYTHON.match(_flat(text).lstrip())
    if code or call is None or os.path.isabs(call["script"]):
        return
    script = call["script"]
    folder = os.path.dirname(text.place.file)
    is_beside = os.path.isfile(os.path.join(folder, script))
    example = "code: ." if is_beside else "code: ./src"
    message = (
        f"the command runs {script!r}, but the step has no code: it runs in an empty folder. Add "
        f"'{example}', the folder with the script."
    )
    findings.error(text.place, message)


def _check_folder(path: str, place: Place, name: str, findings: Findings) -> bool:
    """Check that a folder of scripts exists; return False if it does not."""
    if not path or exists(path):
        return True
    findings.error(place, missing_folder(name, path))
    return False


def read_script(path: str, place: Place, subject: str, findings: Findings) -> str | None:
    """Return the text of a script; None if it is missing, which is noted."""
    if not os.path.isfile(path):
        folder = os.path.dirname(path)
        scripts = (
            [n for n in os.listdir(folder) if n.endswith(".py")] if os.path.isdir(folder) else []
        )
        hint = nearest_hint(os.path.basename(path), scripts)
        findings.error(place, f"{subject}, but there is no file {path}.{hint or ' Correct the name, or add the file.'}")  # fmt: skip
        return None
    try:
        with open(path, encoding="utf-8-sig") as file:
            return file.read()
    except (OSError, UnicodeDecodeError) as error:
        findings.error(Place(path, 1, 1), f"the script cannot be read: {error}. Save it as UTF-8.")
        return None


def check_entry_script(
    source: str, file: str, findings: Findings, *, for_azure: bool = True
) -> None:
    """Check the functions of an entry script.

    Parameters
    ----------
    source, file
        Its text, and its file in messages.
    findings
        Receives the mistakes.
    for_azure
        Whether to warn of what works here only.
    """
    for mistake in script_mistakes(source):
        place = Place(file, max(mistake.line, 1), max(mistake.column, 1))
        message = mistake.message if mistake.line else f"the script {mistake.message}"
        if mistake.is_error:
            findings.error(place, message)
        elif for_azure:
            findings.warn(place, message)


def check_modules(
    source: str, path: str, code: str, environment: Environment | None, findings: Findings
) -> None:
    """Check that the conda file of an environment brings the modules of a script."""
    conda = environment.conda_file if environment else None
    if environment is None or conda is None:
        return
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError):
        return
    beside = [*os.listdir(code), *os.listdir(os.path.dirname(path))]
    for node, module in missing_modules(tree, conda, beside):
        name = os.path.basename(conda) if isinstance(conda, str) else "the conda file of the step"
        message = (
            f"the module {module!r} is not in the packages of {name}. Add {package_of(module)!r} to its "
            "dependencies."
        )
        findings.error(Place(path, node.lineno, node.col_offset + 1), message)


def check_environment(environment: Environment | None, findings: Findings) -> None:
    """Check that the files of an environment exist."""
    if environment is None:
        return
    for name in ("conda_file", "build_path"):
        path = getattr(environment, name)
        if isinstance(path, str) and path and not exists(path):
            key = "build.path" if name == "build_path" else name
            message = f"{key} is {path}, which does not exist.{near_path(path)} Paths are relative to the file."
            findings.error(environment.places.of(key), message)


def check_arguments(
    source: str, words: list[str], given: tuple[Place, str, str], findings: Findings
) -> None:
    """Check the arguments of an entry script against its parser.

    Parameters
    ----------
    source, words
        The text of the script, and its arguments.
    given
        The place of the arguments, the script's name, and the name of the field that has them.
    findings
        Receives the mistake.
    """
    place, script, field = given
    wrong = wrong_arguments(source, words)
    if wrong is None:
        return
    if wrong.message.startswith("unrecognized"):
        remedy = f"Remove them from {field}, or read the known ones with parse_known_args()."
    elif "are required" in wrong.message:
        remedy = f"Add them to {field}, or give them defaults in add_argument(...)."
    else:
        remedy = f"Correct {field}."
    message = (
        f"{script} would refuse its arguments (its line {wrong.line}): {wrong.message}. {remedy}"
    )
    findings.error(place, message)


def returns_rows(source: str) -> bool:
    """Return whether ``run`` surely returns a list of new rows: made of texts, lists or dicts."""
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError):
        return False
    runs = [n for n in tree.body if isinstance(n, ast.FunctionDef) and n.name == "run"]
    returns = [n.value for run in runs for n in ast.walk(run) if isinstance(n, ast.Return)]
    return len(returns) == 1 and isinstance(returns[0], ast.ListComp) and isinstance(
        returns[0].elt, ast.JoinedStr | ast.Dict | ast.List | ast.Tuple
    )  # fmt: skip


def _flat(text: Text) -> str:
    return "".join(_part(part) for part in text.parts)


def _part(part: str | Binding | OptionalPart) -> str:
    if isinstance(part, OptionalPart):
        return "".join(_part(inner) for inner in part.parts)
    return VALUE if isinstance(part, Binding) else part


def _has_words_in_values(text: Text, step: CommandStep | ParallelStep, scope: Scope) -> bool:
    """Return whether a literal may be several words, or an option, in place of one value."""
    for binding in text.bindings():
        if binding.kind != "input":
            continue
        known = UNKNOWN
        if binding.name in step.inputs:
            known = known_input(step.inputs[binding.name], scope)
        elif step.declared is not None and binding.name in step.declared.inputs:
            port = step.declared.inputs[binding.name]
            known = Known("literal", literal=1) if port.type != "string" else UNKNOWN
        literal = str(known.literal)
        if known.kind == "unknown" or re.search(r"\s", literal) or literal.startswith("-"):
            return True
        if known.kind == "literal" and known.literal is None:
            return True
    return False


def _words(text: Text, step: ParallelStep, scope: Scope) -> list[str] | None:
    """Return the words of program arguments, without those of Azure; None if they are not known."""
    if _has_words_in_values(text, step, scope):
        return None
    try:
        words = shlex.split(_flat(text))
    except ValueError:
        return None
    if any(_SET_BY_AZURE.fullmatch(word) for word in words):
        kept: list[str] = []
        skips = False
        for word in words:
            if _SET_BY_AZURE.fullmatch(word):
                skips = "=" not in word
            elif skips and not word.startswith("--"):
                skips = False
            else:
                kept.append(word)
                skips = False
        return kept
    return words
