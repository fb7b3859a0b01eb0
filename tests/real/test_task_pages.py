"""The tutorial and the how-to pages: each of their examples runs, as a cell of one notebook."""

from __future__ import annotations

import re
from pathlib import Path

import nbformat
from nbclient import NotebookClient

DOCS = Path(__file__).parents[2] / "docs"

CHECKS = {
    "tutorial.md": {
        "right =": "assert [r.split(': ')[0] for r in rows] == sorted(labels)\n"
        "assert right > 0.85 * len(labels)",
        "failed =": "assert failed['error'].tolist() == ['UnidentifiedImageError'] * 2\n"
        "assert [p[-9:] for p in failed['item']] == ['00042.png', '00043.png']",
        "widths =": "assert widths.tolist() == ['32'] * len(labels)",
        '%%parallelrun --input "{folder}/*.py"': "assert 'classify.py: ' in words.to_pandas()['row'].iloc[0]",
    },
    "images.md": {
        "bright =": "assert bright.is_bright.tolist() == [n * 10 > 100 for n in range(24)]",
        "thumbnails =": "assert [t.getpixel((0, 0)) for t in thumbnails] == [n * 10 for n in range(24)]",
        "updated =": "assert updated.snapshot()['items'] == 25\n"
        "assert updated.to_pandas()['row'].iloc[24].endswith('24.png: (64, 64)')",
    },
    "tables.md": {
        "doubled =": "assert doubled['id'].iloc[42] == '00042'\n"
        "assert doubled['doubled'].tolist() == [n * 3.0 for n in range(1000)]",
        "rated =": "assert rated['rate'].tolist() == [n * 1.5 / (n % 4 + 1) for n in range(1000)]",
        "without_hours =": "assert without_hours['number'].tolist() == list(range(0, 1000, 4))\n"
        "assert len(hourly.to_pandas()) == 750",
    },
    "failures.md": {
        "groups =": "assert groups['group'].tolist() == ['ZeroDivisionError at invert.py:3 in inverse']\n"
        "assert [p[-6:] for p in items['item']] == ['00.txt', '06.txt']",
        "try:": "assert 'division' in str(raised)",
    },
    "resume.md": {
        "squares =": "assert squares.tolist() == [str(n * n) for n in range(12)]",
        "corrected =": "assert corrected.tolist() == [str(n * n) for n in range(13)]",
        "newest =": "assert newest.run_id == again.run_id",
    },
}  # fmt: skip
"""For each page: a line that begins a statement of an example, and a check that follows the example."""

FEWER_DIGITS = "import parallelrun_jupyter.commands.demo as _demo; _demo._COPIES = 1"


def cells_of(page: str, folder: Path) -> list[str]:
    """Return the examples of a page, each with its checks, in a folder of their own."""
    blocks = re.findall(
        r"^```python\n(.*?)^```$", (DOCS / page).read_text(), re.MULTILINE | re.DOTALL
    )
    cells, checked = [f"import os; os.makedirs({str(folder)!r}); os.chdir({str(folder)!r})"], set()
    for block in blocks:
        starts = [start for start in CHECKS[page] if f"\n{start}" in f"\n{block}"]
        checked |= set(starts)
        cells += [block, "\n".join(CHECKS[page][start] for start in starts)]
    assert checked == set(CHECKS[page])
    return cells


def test_every_example_gives_what_its_page_promises(tmp_path: Path) -> None:
    cells = [FEWER_DIGITS]
    for page in CHECKS:
        cells += cells_of(page, tmp_path / page)
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(text) for text in cells])
    NotebookClient(
        notebook,
        timeout=120,
        kernel_name="python3",
        resources={"metadata": {"path": str(tmp_path)}},
    ).execute()
