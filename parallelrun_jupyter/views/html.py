"""A snapshot as a self-contained piece of HTML, for saved notebooks and plain pages."""

from __future__ import annotations

import time
from html import escape

from ..formatting import format_duration, plural
from ..runs.snapshot.snapshot import GroupRow, Snapshot
from .call_texts import call_notes, calls_line
from .saved_rows import SavedRows, rows_html
from .text import activity, group_fate, group_mark, headline, note_lines, share_done

# Colors follow the theme of JupyterLab, nbconvert and VS Code, else the system's. ipywidgets brings
# variables with JupyterLab's names, always light, to all other pages, so the theme is asked for.
# The text is complete without styles, which some sites strip.
SAVED_STYLE = """\
.pr-saved{--pr-text:light-dark(#1c1f23,#e3e6ea);--pr-quiet:light-dark(#5b6168,#a3a9b1);\
--pr-page:light-dark(#fff,#1b1e23);--pr-soft:light-dark(#f3f4f6,#25292f);\
--pr-line:light-dark(#d5d8dc,#43484f);color-scheme:light dark;max-width:60rem;padding:.6em .8em;\
border:1px solid var(--pr-line);border-radius:4px;background:var(--pr-page);color:var(--pr-text);\
font:13px/1.5 system-ui,sans-serif;font-variant-numeric:tabular-nums}
[data-jp-theme-light] .pr-saved{--pr-text:var(--jp-ui-font-color1);--pr-quiet:var(--jp-ui-font-color2);\
--pr-page:var(--jp-layout-color1);--pr-soft:var(--jp-layout-color2);--pr-line:var(--jp-border-color2);\
font-family:var(--jp-ui-font-family)}
:is([data-jp-theme-light=true],.vscode-light) .pr-saved{color-scheme:light}
:is([data-jp-theme-light=false],.vscode-dark) .pr-saved{color-scheme:dark}
.pr-saved small,.pr-saved th{color:var(--pr-quiet);font-weight:400}
.pr-saved .pr-track{display:flex;height:10px;margin:.5em 0;border-radius:2px;overflow:hidden;\
background:light-dark(#e4e7ea,#3a3f46)}
.pr-saved .pr-ok{background:light-dark(#0072b2,#4ea9e0)}
.pr-saved .pr-bad{background:light-dark(#c4500a,#f0874a)}
.pr-saved table{margin:0;border-collapse:collapse;font-size:inherit}
.pr-saved table tr:nth-child(n){background:none}
.pr-saved.pr-saved table :is(th,td){padding:0 1.8em 0 0;text-align:left;border:0}
.pr-saved .pr-rows{overflow:auto}
.pr-saved .pr-rows td{white-space:pre-wrap;vertical-align:top}
.pr-saved summary small{display:block}
.pr-saved details{margin:.3em 0}
.pr-saved summary{cursor:pointer}
.pr-saved.pr-saved pre{max-height:24em;overflow:auto;margin:.3em 0;padding:.5em;white-space:pre-wrap;\
font:12px/1.4 ui-monospace,monospace;background:var(--pr-soft);color:inherit}"""

_SHOWN_CALLS = 8

GLYPHS = {
    "Queued": "◌",
    "Planning": "◌",
    "Running": "▶",
    "Finalizing": "▶",
    "Completed": "✓",
    "Failed": "✗",
    "Canceled": "■",
    "Interrupted": "!",
}
"""A symbol for each state, readable without its color."""


def html_view(snapshot: Snapshot, at: float, rows: SavedRows | None = None) -> str:
    """Return the whole view as HTML, with the user's texts escaped.

    Parameters
    ----------
    snapshot
        The progress of the run.
    at
        Time of the snapshot, in seconds since the epoch.
    rows
        The first and the latest rows of the run; None without rows.
    """
    when = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(at))
    parts = [
        f"<style>{SAVED_STYLE}</style>",
        _title(snapshot),
        _track(snapshot),
        _facts(snapshot),
        *(f"<div>{escape(line)}</div>" for line in _lines(snapshot)),
        *(_group(group) for group in snapshot["groups"]),
    ]
    if snapshot["groups_hidden"]:
        others = plural(snapshot["groups_hidden"], "other kind")
        parts.append(f"<div>and {others} of failure: <code>run.failures()</code> shows all</div>")
    parts += [f"<div>! {escape(text)}</div>" for text in snapshot["warnings"]]
    if snapshot["output"]:
        count = plural(snapshot["rows"], "row")
        parts.append(f"<div>{count} in <code>{escape(snapshot['output'])}</code></div>")
    parts += rows_html(rows, snapshot["rows"])
    if snapshot["is_final"]:
        parts.append(f"<small>as of {when}</small>")
    else:
        parts.append(f"<small>as of {when}; the run may have continued since</small>")
    return f'<div class="pr-saved">{"".join(parts)}</div>'


def _title(snapshot: Snapshot) -> str:
    name = f"<b>{GLYPHS[snapshot['state']]} {escape(snapshot['name'])}</b>"
    state = escape(headline(snapshot))
    return f"<div>{name} {state} <small>{escape(snapshot['run_id'])}</small></div>"


def _track(snapshot: Snapshot) -> str:
    total = snapshot["mini_batches"]
    if not snapshot["plan_finished"] or not total:
        return ""
    ok = snapshot["succeeded"] / total
    bad = snapshot["failed"] / total
    label = f"{share_done(snapshot):.0%} done"
    return (
        f'<div class="pr-track" role="img" aria-label="{label}">'
        f'<span class="pr-ok" style="width:{ok:.2%}"></span>'
        f'<span class="pr-bad" style="width:{bad:.2%}"></span></div>'
    )


def _facts(snapshot: Snapshot) -> str:
    items = f"{snapshot['items'] - snapshot['items_left']:,} of {snapshot['items']:,}"
    batches = f"{snapshot['succeeded'] + snapshot['failed']:,} of {snapshot['mini_batches']:,}"
    if not snapshot["plan_finished"]:
        items, batches = f"{items} listed so far", f"{batches} so far"
    facts = [
        ("done", f"{share_done(snapshot):.0%}" if snapshot["plan_finished"] else "listing"),
        ("items", items),
        ("mini-batches", batches),
        ("failed", f"{plural(snapshot['items_failed'], 'item')}"),
        ("elapsed", format_duration(snapshot["elapsed_s"])),
    ]
    if snapshot["items_per_s"] >= 0.05:
        facts.insert(4, ("items/s", f"{snapshot['items_per_s']:,.4g}"))
    heads = "".join(f"<th>{name}</th>" for name, _ in facts)
    cells = "".join(f"<td>{value}</td>" for _, value in facts)
    return f"<table><tr>{heads}</tr><tr>{cells}</tr></table>"


def _lines(snapshot: Snapshot) -> list[str]:
    """Return the lines about calls, and one for each of the first workers that tell their progress."""
    told = [row for row in snapshot["workers"] if row.get("progress") or row.get("calls")]
    calls = calls_line(snapshot)
    return [
        *([calls] if calls else ()),
        *note_lines(snapshot),
        *call_notes(snapshot),
        *(f"{row['worker']}: {activity(row)}" for row in told[:_SHOWN_CALLS]),
    ]


def _group(group: GroupRow) -> str:
    summary = (
        f"{group_mark(group)} <b>{escape(group['group'])}</b>: {escape(group['message'])} "
        f"<small>{escape(group_fate(group))}</small>"
    )
    hint = f"<div>hint: {escape(group['hint'])}</div>" if group["hint"] else ""
    if not group["traceback"]:
        return f"<div>{summary}</div>{hint}"
    body = f"{hint}<pre>{escape(group['traceback'])}</pre>"
    is_open = " open" if group_mark(group) == "✗" else ""
    return f"<details{is_open}><summary>{summary}</summary>{body}</details>"
