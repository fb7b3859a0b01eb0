"""``check`` names each seeded mistake at its line, and nothing in valid files."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from parallelrun_jupyter.azureml_v2 import Finding, check
from parallelrun_jupyter.azureml_v2.checks.packages import missing_modules
from parallelrun_jupyter.commands.checking import cell_arguments
from parallelrun_jupyter.commands.cli import main
from parallelrun_jupyter.config.script_arguments import wrong_arguments
from parallelrun_jupyter.errors import ConfigError
from tests.check_cases import CELLS, FILES, MISTAKES, Mistake, write_cells, write_project
from tests.pure import test_v2_reader as reader_cases

ROOT = Path(__file__).parents[2]


def found_in(folder: Path, name: str) -> tuple[Finding, ...]:
    return check(folder / name, cell_arguments)


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    write_project(tmp_path)
    return tmp_path


def edited(project: Path, mistake: Mistake) -> tuple[str, str]:
    """Make the edit; return the name of the edited file in findings, and its new text."""
    if mistake.edited.startswith("cell "):
        cells = list(CELLS)
        number = int(mistake.edited.removeprefix("cell "))
        assert mistake.old in cells[number - 1]
        cells[number - 1] = cells[number - 1].replace(mistake.old, mistake.new, 1)
        write_cells(project, cells)
        return f"notebook.ipynb:{mistake.edited}", cells[number - 1]
    text = FILES[mistake.edited]
    assert mistake.old in text
    text = text.replace(mistake.old, mistake.new, 1)
    (project / mistake.edited).write_text(text)
    return mistake.edited, text


@pytest.mark.parametrize("name", list(MISTAKES))
def test_a_mistake_is_named_at_its_line(project: Path, name: str) -> None:
    mistake = MISTAKES[name]
    file, text = edited(project, mistake)
    if mistake.place and mistake.place != mistake.edited:
        file, text = mistake.place, FILES[mistake.place]
    piece = mistake.at or mistake.new
    assert piece in text
    line = text[: text.index(piece)].count("\n") + 1
    checked = mistake.checked or file.partition(":")[0]
    found = found_in(project, checked)
    assert len(found) == 1, [str(finding) for finding in found]
    [finding] = found
    named = finding.place.file.removeprefix(f"{project}/")
    assert (named, finding.place.line, finding.severity) == (file, line, mistake.severity)
    assert mistake.words in finding.message


LOST = """\
type: pipeline
jobs:
  images:
    type: parallel
    inputs: {files: {type: uri_folder, path: ./sales}}
    input_data: ${{inputs.files}}
    task: {type: run_function, code: ./src, entry_script: images.py}
"""


def test_rows_that_no_output_receives_are_a_warning(project: Path) -> None:
    (project / "lost.yml").write_text(LOST)
    [finding] = check("lost.yml")
    assert (finding.place.line, finding.severity) == (7, "warning")
    assert "run() returns rows, but the step has no outputs" in finding.message
    (project / "src/images.py").write_text("def run(mini_batch): return mini_batch\n")
    assert check("lost.yml") == ()


BROKEN = """\
type: pipeline
jobs:
  first: {component: azureml:x:1, inputs: {a: 1}}
  second:
    type: command
    command: echo ${{inputs.a}} ${{inputs.b}}
    inputs:
      a: [1, 2]
      b: ${{parent.jobs.first.outputs.rows}}
"""


def test_a_mistake_has_no_further_findings_elsewhere(project: Path) -> None:
    (project / "broken.yml").write_text(BROKEN)
    assert [finding.place.line for finding in check("broken.yml")] == [3, 8]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("e.yml", b"", ":1:1: the file is empty"),
        ("e.yml", b"type: pipeline\njobs: 5", ":2:7: jobs is 5; expected a mapping."),
        ("e.yml", b"type: [a]", ":1:7: type is "),
        ("e.yml", b"endpoint_name: x\nname: y\nsettings: 5\ncode_configuration: {code: 5}", ":4:21: code_configuration has no scoring_script"),
        ("e.py", b"\xff\xfe", ":1:1: the script cannot be read: 'utf-8' codec"),
        ("e.py", b"x\0y", ":1:1: source code string cannot contain null bytes"),
        ("e.ipynb", b"{", ":1:2: this is not JSON"),
        ("e.ipynb", b"[]", ":1:1: this is not a notebook"),
        ("MLTable", b"paths: [file: x]\ntransformations: 5", ":2:18: transformations is not a list"),
        ("MLTable", b"paths: [x]", ":1:9: a path is not a mapping"),
    ],
)  # fmt: skip
def test_a_file_that_cannot_be_read_is_a_finding(
    project: Path, name: str, content: bytes, message: str
) -> None:
    (project / name).write_bytes(content)
    found = [str(finding) for finding in check(name)]
    assert any(text.startswith(name + message) for text in found), found


def test_there_are_many_mistakes() -> None:
    assert len(MISTAKES) >= 40


@pytest.mark.parametrize(
    "name", [*(name for name in FILES if not name.startswith(("sales", "model", "conda", "table/a", "src/n", "src/p", "src/r"))), "table", "notebook.ipynb"]
)  # fmt: skip
def test_a_valid_file_has_no_findings(project: Path, name: str) -> None:
    assert found_in(project, name) == ()


def test_the_files_of_the_readers_tests_have_no_findings(tmp_path: Path) -> None:
    (tmp_path / "parts").mkdir()
    (tmp_path / "code").mkdir()
    (tmp_path / "code/prepare.py").write_text("")
    (tmp_path / "code/score.py").write_text("def run(mini_batch): return mini_batch\n")
    (tmp_path / "conda.yml").write_text("dependencies: [python]\n")
    for name in ("sales", "data"):
        (tmp_path / name).mkdir()
    reader_cases.write(tmp_path)
    reader_cases.write(tmp_path / "parts", reader_cases.COMPONENT, "score.yml")
    text = reader_cases.WITH_COMPONENT.format(reference="parts/score.yml")
    reader_cases.write(tmp_path, text, "with.yml")
    for name in ("pipeline.yml", "parts/score.yml", "with.yml"):
        assert check(tmp_path / name) == (), name


NOTEBOOKS = sorted(ROOT.glob("notebooks/*.ipynb"))
SCRIPTS = [
    path
    for path in sorted(
        [*ROOT.glob("tests/entry_scripts/*.py"), *ROOT.glob("tests/azureml_notebooks/scripts/*.py")]
    )
    if "def run" in path.read_text() or "run =" in path.read_text()
]


@pytest.mark.parametrize("path", [*NOTEBOOKS, *SCRIPTS], ids=lambda path: path.name)
def test_the_notebooks_and_scripts_of_this_repository_have_no_findings(path: Path) -> None:
    assert check(path, cell_arguments) == ()


@pytest.mark.parametrize("path", sorted(ROOT.glob("tests/azureml_notebooks/[a-z]*.py")), ids=lambda path: path.name)  # fmt: skip
def test_notebooks_of_sdk_v1_have_no_findings(tmp_path: Path, path: Path) -> None:
    _, *cells = path.read_text().split("# %%\n")
    write_cells(tmp_path, cells)
    (tmp_path / "scripts").symlink_to(path.parent / "scripts")
    assert found_in(tmp_path, "notebook.ipynb") == ()


# Pipelines made by hypothesis

NAMES = st.from_regex(r"[a-z][a-z0-9_]{0,6}", fullmatch=True)


@st.composite
def pipelines(draw: st.DrawFn) -> dict[str, object]:
    """Draw a valid pipeline: steps in a row, each bound to data, the pipeline or an earlier step."""
    names = draw(st.lists(NAMES, min_size=1, max_size=5, unique=True))
    inputs = {
        "data": {"type": draw(st.sampled_from(["uri_folder", "uri_file"])), "path": "./sales"}
    }
    literals = draw(st.dictionaries(NAMES.filter(lambda n: n != "data"), st.integers(1, 9), max_size=3))  # fmt: skip
    jobs: dict[str, object] = {}
    for number, name in enumerate(names):
        source = draw(st.sampled_from(["${{parent.inputs.data}}", *(f"${{{{parent.jobs.{other}.outputs.out}}}}" for other in names[:number])]))  # fmt: skip
        given: dict[str, object] = {"x": source}
        text = "--x ${{inputs.x}}"
        for literal in draw(st.lists(st.sampled_from(sorted(literals)), unique=True)) if literals else ():  # fmt: skip
            given[f"v_{literal}"] = f"${{{{parent.inputs.{literal}}}}}"
            text += f" --{literal} ${{{{inputs.v_{literal}}}}}"
        step: dict[str, object] = {"inputs": given, "outputs": {"out": {"type": "uri_folder"}}}
        if draw(st.booleans()):
            step |= {"type": "command", "command": f"echo {text} ${{{{outputs.out}}}}", "environment": "azureml:e:1"}  # fmt: skip
        else:
            step |= {
                "type": "parallel", "input_data": "${{inputs.x}}",
                "mini_batch_size": draw(st.integers(1, 10**6)),
                "error_threshold": draw(st.integers(-1, 10**6)),
                "retry_settings": {"max_retries": draw(st.integers(0, 9)), "timeout": draw(st.integers(1, 999))},
                "task": {
                    "type": "run_function", "code": "./src", "entry_script": "images.py",
                    "environment": "azureml:e@latest", "program_arguments": text,
                    "append_row_to": "${{outputs.out}}",
                },
            }  # fmt: skip
        jobs[name] = step
    return {"type": "pipeline", "inputs": {**inputs, **literals}, "jobs": jobs}


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(job=pipelines(), data=st.data())
def test_a_generated_pipeline_has_no_findings_until_a_name_is_wrong(
    project: Path, job: dict[str, object], data: st.DataObject
) -> None:
    text = yaml.safe_dump(job, sort_keys=False)
    (project / "made.yml").write_text(text)
    assert check(project / "made.yml") == ()
    lines = text.split("\n")
    number = data.draw(st.sampled_from([n for n, line in enumerate(lines) if "${{" in line]))
    if lines[number].count("${{") == 1 and lines[number].endswith("}}"):
        lines[number] = lines[number].replace("}}", "_zzz}}")
        (project / "made.yml").write_text("\n".join(lines))
        assert {finding.place.line for finding in check(project / "made.yml")} == {number + 1}


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        ("python no.py --k 1", "Add 'code: ./src', the folder with the script."),
        ("python here.py", "Add 'code: .', the folder with the script."),
        ("python /opt/no.py", ""),
        ("echo 'print(1)' > no.py && python no.py", ""),
        ("python -c 'print(1)'", ""),
    ],
)
def test_a_script_of_a_command_without_code_is_named(
    tmp_path: Path, command: str, expected: str
) -> None:
    (tmp_path / "here.py").write_text("print(1)\n")
    step = {"type": "command", "command": command, "environment": "azureml:base:1"}
    job = {"type": "pipeline", "jobs": {"only": step}}
    (tmp_path / "job.yml").write_text(yaml.safe_dump(job))
    messages = [finding.message for finding in check(tmp_path / "job.yml")]
    script = command.split()[1]
    start = f"the command runs '{script}', but the step has no code: it runs in an empty folder. "
    assert messages == ([start + expected] if expected else [])


# Arguments: the oracle is the script, run with them

PARSERS = {
    "required": "p.add_argument('--model', required=True)\n",
    "position": "p.add_argument('path')\np.add_argument('--top', type=int)\n",
    "number": "p.add_argument('--share', type=float, default='2.5')\n",
    "many": "p.add_argument('--names', nargs='+')\np.add_argument('-v', '--verbose', action='store_true')\n",
}


@pytest.mark.parametrize("options", ["", "allow_abbrev=False, description='x'"])
@pytest.mark.parametrize("method", ["parse_args", "parse_known_args"])
@pytest.mark.parametrize("parser", list(PARSERS))
@pytest.mark.parametrize(
    "words", [[], ["--model", "x"], ["--mod=x"], ["x"], ["x", "--top", "3"], ["x", "--top", "three"], ["x", "--top=3.5"], ["--share", "3.5"], ["--share", "much"], ["--names", "a", "b", "-v"], ["--names"], ["--no"]]
)  # fmt: skip
def test_arguments_are_refused_as_the_script_refuses_them(
    parser: str, method: str, options: str, words: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    source = (
        f"import argparse\np = argparse.ArgumentParser({options})\n{PARSERS[parser]}p.{method}()\n"
    )
    monkeypatch.setattr(sys, "argv", ["script.py", *words])
    try:
        exec(compile(source, "script.py", "exec"), {})
        is_refused = False
    except SystemExit:
        is_refused = True
    assert (wrong_arguments(source, words) is not None) == is_refused


@pytest.mark.parametrize(
    "source",
    [
        "import argparse\np = argparse.ArgumentParser(parents=[other])\np.parse_args()",
        "import argparse\np = argparse.ArgumentParser()\nadd(p)\np.parse_args()",
        "import argparse\np = argparse.ArgumentParser()\nif x:\n    p.add_argument('--a', required=True)\np.parse_args()",
        "import argparse\np = argparse.ArgumentParser()\np.add_argument(NAME, required=True)\np.parse_args()",
        "import argparse\nif __name__ == '__main__':\n    p = argparse.ArgumentParser()\n    p.add_argument('--a', required=True)\n    p.parse_args()",
        "import argparse\ndef never():\n    p = argparse.ArgumentParser()\n    p.add_argument('a')\n    p.parse_args()",
        "import argparse\np = argparse.ArgumentParser()\np.add_argument('a')\np.parse_args(['x'])",
    ],
)  # fmt: skip
def test_a_parser_that_is_not_known_refuses_nothing(source: str) -> None:
    assert wrong_arguments(source, ["--whatever"]) is None


@pytest.mark.parametrize("word", ["...", "{count}", "$COUNT", "1.5"])
def test_a_number_that_is_not_known_is_not_refused(word: str) -> None:
    head = "import argparse\np = argparse.ArgumentParser()\n"
    source = f"{head}p.add_argument('--k', type=int)\np.parse_args()"
    assert (wrong_arguments(source, ["--k", word]) is None) == (word != "1.5")
    for own in ("from fractions import Fraction as int\n", "int = float\n", "from mine import *\n"):
        assert wrong_arguments(own + source, ["--k", word]) is None


# Modules


@pytest.mark.parametrize(
    ("dependencies", "missing"),
    [
        (["python=3.10", "numpy"], ["sklearn", "odd"]),
        (["scikit-learn", "unknown-package"], []),
        (["conda-forge::scikit-learn=1.3"], ["odd"]),
        ([{"pip": ["scikit-learn>=1", "--extra-index-url https://x"]}], ["odd"]),
        ([{"pip": ["git+https://x/y"]}], []),
        ([{"pip": ["-r missing.txt"]}], []),
        ([{"pip": ["azureml-core"]}], ["sklearn"]),
        (["mlflow"], ["odd"]),
    ],
)  # fmt: skip
def test_only_modules_that_are_surely_missing_are_named(
    dependencies: list[object], missing: list[str]
) -> None:
    source = "import os, numpy\nfrom sklearn import svm\nimport odd\nif os.sep:\n    import other\nfrom . import near\n"
    found = missing_modules(ast.parse(source), {"dependencies": dependencies}, [])
    assert [module for _, module in found] == missing


# The command


def test_the_command_prints_places_and_has_a_status(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["check", "pipeline.yml"]) == 0
    assert capsys.readouterr().out == "no mistakes found\n"
    edited(project, MISTAKES["no nodes"])
    assert main(["check", "pipeline.yml"]) == 1
    line = FILES["pipeline.yml"].split("resources: {")[0].count("\n") + 1
    assert capsys.readouterr().out == (
        f"pipeline.yml:{line}:33: resources.instance_count is 0; expected a whole number from 1: it is the "
        "number of nodes.\n"
    )
    assert main(["check", "--json", "pipeline.yml", "src/score.py"]) == 1
    [record] = map(json.loads, capsys.readouterr().out.splitlines())
    assert (record["line"], record["severity"], record["file"]) == (line, "error", "pipeline.yml")


def test_warnings_alone_are_no_failure(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    edited(project, MISTAKES["async run"])
    assert main(["check", "src/score.py"]) == 0
    assert "warning: run() is async" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "message"),
    [("no.yml", "does not exist"), ("src", "a folder without an MLTable file"), ("a.csv", "of a kind that has no checks"),
     ("endpoint.yml", "the file of a batch endpoint, which has no checks. Name that of a deployment"),
     ("conda.yml", "neither a job, a component nor a batch deployment")],
)  # fmt: skip
def test_another_kind_of_file_is_refused(project: Path, name: str, message: str) -> None:
    (project / "a.csv").write_text("")
    (project / "endpoint.yml").write_text("name: a\nauth_mode: aad_token\n")
    with pytest.raises(ConfigError, match=message):
        check(name)


def test_a_check_imports_no_tables_and_no_azure(project: Path) -> None:
    program = (
        "import sys; from parallelrun_jupyter.commands.cli import main; main(sys.argv[1:]);"
        "print(sorted({'pandas', 'numpy', 'pyarrow', 'IPython', 'azure', 'dask'} & set(sys.modules)))"
    )
    words = ["check", "pipeline.yml", "notebook.ipynb", "table"]
    done = subprocess.run(
        [sys.executable, "-c", program, *words], capture_output=True, text=True, check=True,
        cwd=project, env={"PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.stdout == "no mistakes found\n[]\n"
