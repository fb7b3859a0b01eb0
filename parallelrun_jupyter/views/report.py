"""``run.report("run.html")``: one self-contained file with the views of the notebook, which plays the run."""

from __future__ import annotations

import json
import os
from html import escape
from pathlib import Path

from ..errors import OutputError
from ..runs.journal.state import RunState
from ..runs.run_folder import RunFolder
from ..runs.snapshot.snapshot import Snapshot
from .html import html_view
from .recording import Recording, take_recording, to_json
from .saved_rows import SavedRows

PLAYER_FILE = "parallelrun-player.js"

_STATIC = Path(__file__).with_name("static")
_PAGE = """\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:">
<title>{title}</title>
<style>:root{{color-scheme:light dark;background:light-dark(#fff,#111418)}}body{{margin:1em}}h1{{font:600 15px system-ui,sans-serif;color:light-dark(#1c1f23,#e3e6ea)}}</style>
</head>
<body>
<main>
<h1>{title}</h1>
<parallelrun-player><script type="application/json">{data}</script></parallelrun-player>
<noscript>{static}</noscript>
</main>
<script>{player}</script>
</body>
</html>
"""


class RecordedRun:
    """A recorded run, which pages play without Jupyter, network or this package.

    It is made by ``run.recording()``. A cell that ends with it shows the player.
    """

    def __init__(self, recording: Recording) -> None:
        self._recording = recording

    def __repr__(self) -> str:
        snapshot = self._recording["output"]["snapshot"]
        return f"RecordedRun({snapshot['run_id']!r}, {snapshot['elapsed_s']:.1f} s)"

    def _repr_html_(self) -> str:
        # The page is isolated: it can read neither the notebook's cookies nor its storage.
        page = escape(_page(self._recording))
        title = escape(self._recording["output"]["snapshot"]["name"])
        return (
            f'<iframe sandbox="allow-scripts" srcdoc="{page}" title="{title}" '
            'style="width:100%;height:40rem;border:0"></iframe>'
        )

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the recording, and the player ``parallelrun-player.js`` beside it.

        A page plays it with ``<script src="parallelrun-player.js"></script>`` and
        ``<parallelrun-player src="run.json" autoplay></parallelrun-player>``.

        Parameters
        ----------
        path
            The file of the recording, such as ``site/run.json``.

        Returns
        -------
        Path
            The absolute path of the recording.

        Raises
        ------
        OutputError
            One of the files cannot be written.
        """
        target = _write(path, json.dumps(self._recording, separators=(",", ":")), "recording")
        _write(target.with_name(PLAYER_FILE), player_script(), "player")
        return target


def write_report(
    folder: RunFolder,
    state: RunState,
    snapshot: Snapshot,
    path: str | os.PathLike[str],
    *,
    with_past: bool | None = None,
) -> Path:
    """Write a run's progress as an HTML page; return its absolute path.

    Raises
    ------
    OutputError
        The file cannot be written.
    """
    recording = take_recording(folder, state, snapshot, with_past=with_past)
    return _write(path, _page(recording), "report")


def _page(recording: Recording) -> str:
    output, rows = recording["output"], recording["rows"]
    return _PAGE.format(
        title=escape(f"{output['snapshot']['name']}: {output['headline']}"),
        data=to_json(recording),
        static=html_view(
            output["snapshot"], output["at"], None if rows is None else SavedRows(*rows)
        ),
        player=player_script(),
    )


def player_script() -> str:
    """Return the script that defines the element ``<parallelrun-player>``, with its style sheet."""
    style = json.dumps((_STATIC / "widget.css").read_text(encoding="utf-8")).replace("<", "\\u003c")
    # ASCII: a page of its own may declare another encoding, or none.
    code = (_STATIC / "player.js").read_text(encoding="utf-8")
    code = code.encode("ascii", "backslashreplace").decode("ascii")
    return f"globalThis.parallelrunStyle={style};\n{code}"


def _write(path: str | os.PathLike[str], text: str, noun: str) -> Path:
    target = Path(path).expanduser().absolute()
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text, encoding="utf-8", errors="backslashreplace")
    except OSError as error:
        msg = f"the {noun} {target} could not be written ({error.strerror}); choose another path."
        raise OutputError(msg) from error
    return target
