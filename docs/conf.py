"""The documentation site: ``make site`` builds ``docs/_build/html``, without a network."""

from __future__ import annotations

import os
import posixpath
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sphinx.application import Sphinx

HERE = Path(__file__).parent
ROOT = HERE.parent
sys.path.insert(0, str(ROOT))

from parallelrun_jupyter import __version__  # noqa: E402 - after the path

SOURCE = "https://github.com/parallelrun-jupyter/parallelrun-jupyter/blob/main"

project = "parallelrun-jupyter"
author = "The parallelrun-jupyter contributors"
copyright = author  # noqa: A001 - Sphinx's name
release = version = __version__

extensions = ["myst_parser", "numpydoc", "sphinx.ext.autodoc"]
exclude_patterns = ["_build"]
# The templates of code in pages (`%%parallelrun` with options, console sessions) are not all lexed.
suppress_warnings = ["misc.highlighting_failure"]

myst_heading_anchors = 4  # links such as runs.md#settings, with the anchors that GitHub gives
myst_fence_as_directive: list[str] = []
myst_linkify_fuzzy_links = False

smartquotes = False  # -- is the beginning of an option
default_role = "py:obj"  # `Run` in a docstring leads to its entry, if it has one
add_module_names = False
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
maximum_signature_line_length = 88
python_use_unqualified_type_names = True
numpydoc_show_class_members = False
numpydoc_validation_checks = {
    "all",  # except these:
    "ES01", "EX01", "SA01",  # extended summaries, examples and "See Also": only if they help
    "PR04", "RT01", "YD01",  # types are annotations; "Return ..." in the summary is enough
    "PR03",  # keywords are described in groups
    "GL01", "GL02", "GL03",  # the layout is checked by ruff
}  # fmt: skip
_MADE_BY_OTHERS = ("Run", "TabularDataset", "Datastore")  # never by their constructors
numpydoc_validation_exclude = {
    rf"^parallelrun_jupyter\.{name}$" for name in (*_MADE_BY_OTHERS, "ParallelRunConfig")
}

html_theme = "furo"
pygments_dark_style = "github-dark"
html_title = f"parallelrun-jupyter {release}"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_js_files = ["site.js"]
html_copy_source = False
html_show_sphinx = False
html_theme_options = {
    "source_repository": "https://github.com/parallelrun-jupyter/parallelrun-jupyter/",
    "source_branch": "main",
    "source_directory": "docs/",
}

_PLAYER = re.compile(r"<!-- player: (.*?) -->.*?<!-- end of player -->", re.DOTALL)
_PLAYER_HTML = """

```{{raw}} html
<parallelrun-player autoplay><script type="application/json">{}</script></parallelrun-player>
<script defer src="_static/parallelrun-player.js"></script>
<p class="run"><a href="run.html">The same on a page of its own</a></p>
```"""
_OUTSIDE = re.compile(r"\]\((\.\./[^)\s]+)\)")


def _read(app: Sphinx, name: str, source: list[str]) -> None:
    """Adapt a page that GitHub shows as well.

    Links out of this folder lead to GitHub. The picture of the first page is a recorded run itself, below the
    text of the comment before it.
    """
    folder = posixpath.join("docs", posixpath.dirname(name))

    def absolute(match: re.Match[str]) -> str:
        return f"]({SOURCE}/{posixpath.normpath(posixpath.join(folder, match[1]))})"

    if app.builder.format == "html" and _PLAYER.search(source[0]):
        recording = (_recorded(app) / "run.json").read_text(encoding="utf-8")
        html = _PLAYER_HTML.format(recording.replace("<", "\\u003c"))
        source[0] = _PLAYER.sub(lambda match: match[1] + html, source[0])
    source[0] = _OUTSIDE.sub(absolute, source[0])


def _hide_constructor(_: Sphinx, what: str, name: str, *__: object) -> tuple[str, None] | None:
    return ("", None) if what == "class" and name.rpartition(".")[2] in _MADE_BY_OTHERS else None


def _recorded(app: Sphinx) -> Path:
    """Return the folder of the recorded run; it is recorded once for each state of the front end."""
    folder = Path(app.outdir).parent / "recording"
    bundle = ROOT / "parallelrun_jupyter" / "views" / "static" / "player.js"
    if _is_older(folder / "run.json", bundle):
        command = [sys.executable, str(HERE / "recorded_run.py"), str(folder)]
        path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
        subprocess.run(command, check=True, env={**os.environ, "PYTHONPATH": path})
    return folder


def _add_player(app: Sphinx, error: Exception | None) -> None:
    if error is None and app.builder.format == "html":
        shutil.copy(_recorded(app) / "run.html", app.outdir)
        shutil.copy(_recorded(app) / "parallelrun-player.js", Path(app.outdir, "_static"))


def _is_older(target: Path, source: Path) -> bool:
    return not target.exists() or target.stat().st_mtime < source.stat().st_mtime


def setup(app: Sphinx) -> None:
    """Connect the changes to Sphinx."""
    app.connect("autodoc-process-signature", _hide_constructor)
    app.connect("source-read", _read)
    app.connect("build-finished", _add_player)
