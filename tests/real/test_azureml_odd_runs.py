"""Runs on Azure ML with odd names, arguments and secrets, as the real client of Azure sees them."""

from __future__ import annotations

from pathlib import Path
from textwrap import dedent
from typing import Any

from tests.azureml_service.notebook import Notebook
from tests.azureml_service.service import AzureMLService
from tests.real.test_azureml_runs import notebook  # noqa: F401 - a fixture

NAMES = [
    "a b.txt", "ä ö.txt", "percent%20.txt", "plus+and&.txt", "hash#1.txt", "question?.txt",
    "two..dots.txt", "quote'\".txt", "brace ${{inputs.x}}.txt", "x" * 200 + ".txt",
]  # fmt: skip
ARGUMENTS = ["a b", "it's", '"q"', "${{inputs.plan}}", "$HOME", "%20", "", "--input_0"]
SCRIPT = """
import os, sys
def run(paths):
    return [repr((os.path.basename(p), open(p).read(), sys.argv[1:], os.environ["MINE"])) for p in paths]
"""


def test_odd_names_and_arguments_arrive_and_no_token_stays(
    notebook: Notebook,  # noqa: F811
    azureml_service: AzureMLService,
    tmp_path: Path,
) -> None:
    folder = tmp_path / "in put"
    folder.mkdir()
    for name in NAMES:
        (folder / name).write_text(name)
    (folder / "link.txt").symlink_to(folder / NAMES[0])
    script = tmp_path / "odd.py"
    script.write_text(SCRIPT)
    code = """
        credential = Credential()
        seen, get_token = [], credential.get_token
        def noted(*scopes, **options):
            token = get_token(*scopes, **options)
            seen.append(token.token)
            return token
        credential.get_token = noted
        mine = {"MINE": "a ${inputs.plan} {{x}} 'b' \\"c\\" $HOME"}
        run = start(script, [given, given], arguments, compute(credential=credential),
                    mini_batch_size=4, environment_variables=mine)
        value = {**end(run), "tokens": seen, "folder": str(run.folder.path)}
        local = start(script, [given, given], arguments, "local", mini_batch_size=4,
                      environment_variables=mine)
        value["expected"] = end(local)["rows"]
    """
    value: Any = notebook.run(
        dedent(code), tmp_path, script=str(script), given=str(folder), arguments=ARGUMENTS
    ).value
    assert value["state"] == "Completed", value["reason"]
    assert value["rows"] == value["expected"]
    assert value["rows"].count("\n") == 2 * (len(NAMES) + 1)
    assert value["tokens"]
    for path in Path(value["folder"]).rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            assert not any(token.encode() in content for token in value["tokens"]), path
            assert b"sig=" not in content, path
