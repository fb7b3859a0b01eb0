"""Docstrings and comments use the usual words: counts per thousand words, folder by folder.

The limits are those of well-written packages of the field (httpx, dramatiq, pebble, anywidget). A text
that needs more of these words describes a thing by a clause in place of its name.
"""

from __future__ import annotations

import ast
import io
import re
import tokenize
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "parallelrun_jupyter"
FOLDERS = sorted(path.name for path in PACKAGE.iterdir() if (path / "__init__.py").exists())
LIMITS = {
    r"what": 3.0,
    r"where": 3.0,
    r"say|says|said": 1.0,
    r"nobody|somebody|anybody|whoever": 0.2,
    r"(?:is|are) no": 0.5,
    r"there (?:is|are)": 1.5,
    r"anew|by now|for want of|which is none|say whether": 0.0,
}
"""A pattern, and how often it may occur among a thousand words."""

CODE = re.compile(r"``.*?``|`[^`]*`|>>> .*", re.DOTALL)


def prose_of(source: str) -> str:
    """Return the docstrings and comments of a module, without the code in them."""
    texts = [
        node.value.value
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    ]
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    texts += [token.string for token in tokens if token.type == tokenize.COMMENT]
    return CODE.sub(" x ", "\n".join(texts))


def too_often(text: str, least_words: int = 1000) -> list[str]:
    """Return a sentence for each pattern that occurs too often."""
    thousands = max(len(re.findall(r"[A-Za-z']+", text)), least_words) / 1000
    counts = {
        pattern: len(re.findall(rf"\b(?:{pattern})\b", text, re.IGNORECASE)) for pattern in LIMITS
    }
    return [
        f"{pattern!r}: {count / thousands:.1f} per 1,000 words, at most {LIMITS[pattern]}"
        for pattern, count in counts.items()
        if count > LIMITS[pattern] * thousands
    ]


def test_a_clause_in_place_of_a_noun_is_noticed() -> None:
    assert too_often("What says of a line whether it is wanted. " * 100)
    assert too_often("There is nobody to ask. " * 300)
    assert not too_often("Return a predicate that accepts matching lines. " * 100)
    assert prose_of('"""One."""\nx = "two"  # three\n').split() == ["One.", "#", "three"]


@pytest.mark.parametrize("folder", FOLDERS)
def test_docstrings_and_comments_are_plain(folder: str) -> None:
    modules = sorted((PACKAGE / folder).rglob("*.py"))
    assert not too_often("\n".join(prose_of(path.read_text()) for path in modules))


@pytest.mark.parametrize("folder", ["tests", "benchmarks"])
def test_comments_of_tests_are_plain(folder: str) -> None:
    modules = sorted((ROOT / folder).rglob("*.py"))
    texts = (prose_of(path.read_text()) for path in modules if "node_modules" not in path.parts)
    assert not too_often("\n".join(texts))


@pytest.mark.parametrize(
    "page", ["README.md", "CONTRIBUTING.md", *sorted(str(p.relative_to(ROOT)) for p in (ROOT / "docs").glob("*.md"))]
)  # fmt: skip
def test_pages_are_plain(page: str) -> None:
    text = re.sub(r"```.*?```", " ", (ROOT / page).read_text(), flags=re.DOTALL)
    assert not too_often(CODE.sub(" x ", text))
