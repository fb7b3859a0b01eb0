"""What the documentation tells people to type: extras, targets and commands that exist."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from parallelrun_jupyter.commands.terminal import make_parser
from tests import pyproject

ROOT = pyproject.ROOT
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
INSTALLATION = (ROOT / "docs" / "installation.md").read_text()


def commands(page: Path) -> Iterator[str]:
    """Yield the commands of a page's blocks for a terminal, without their comments."""
    blocks = re.findall(r"^```(sh|console)\n(.*?)^```$", page.read_text(), re.MULTILINE | re.DOTALL)
    for language, block in blocks:
        for line in block.splitlines():
            if language == "sh" or line.startswith("$ "):
                yield line.removeprefix("$ ").partition(" #")[0].strip()


COMMANDS = [(page.name, command) for page in PAGES for command in commands(page)]


def test_the_table_names_each_extra_and_its_packages() -> None:
    rows = re.findall(r"^\| `([a-z-]+)` \| (.+?) \| .+ \|$", INSTALLATION, re.MULTILINE)
    listed = {extra: set(re.findall(r"`([a-z-]+)`", packages)) for extra, packages in rows}
    assert listed == {
        extra: set(map(pyproject.package_of, packages))
        for extra, packages in pyproject.extras().items()
    }


def test_every_extra_that_is_named_exists() -> None:
    known = set(pyproject.read()["project"]["optional-dependencies"])
    sources = [*PAGES, *(ROOT / "parallelrun_jupyter").rglob("*.py")]
    named = {
        (path.name, extra)
        for path in sources
        for extras in re.findall(
            r"""(?:parallelrun-jupyter|['"]\.)\[([a-z,-]+)\]""", path.read_text()
        )
        for extra in extras.split(",")
    }
    assert len(named) > 20
    assert [pair for pair in sorted(named) if pair[1] not in known] == []


def test_every_target_of_make_exists() -> None:
    makefile = (ROOT / "Makefile").read_text()
    targets = set(re.findall(r"^([a-z-]+):", makefile, re.MULTILINE))
    used = [(page, command.split()[1]) for page, command in COMMANDS if command.startswith("make ")]
    assert used
    assert [pair for pair in used if pair[1] not in targets] == []


@pytest.mark.parametrize(
    ("page", "command"), [pair for pair in COMMANDS if pair[1].startswith("parallelrun ")]
)
def test_every_command_is_understood(page: str, command: str) -> None:
    words = shlex.split(command)[1:]
    words = words[: words.index("--")] if "--" in words else words
    if words == ["--version"]:
        return  # it ends the process
    for one in [words] if "|" not in words else _alternatives(words):
        options, unknown = make_parser().parse_known_args(one)
        assert unknown == [], page
        assert options.command, page


def _alternatives(words: list[str]) -> Iterator[list[str]]:
    """Yield each command of a line such as ``list | watch [--json]``."""
    for part in " ".join(words).split(" | "):
        name, *optional = part.replace("[", "").replace("]", "").split()
        needs_a_run = {"compare": 2, "logs": 0}.get(name, 0)
        yield [name, *(["3"] if name == "try" else []), *optional, *["RUN"] * needs_a_run]
