"""Folders and globs: local files and stores are listed in one order."""

from __future__ import annotations

import shutil
import zipfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from parallelrun_jupyter import FileDataset
from parallelrun_jupyter.data.walker import Listing, Unlisted, split_glob, walk

NAMES = st.sampled_from(
    ["a", "b", "ab", "B", "a-b", ".h", "_x", "_k=1", "[ab]", "[v2]", "MLTable", "a.b", "é"]
)
PARTS = st.sampled_from(
    [
        "*",
        "**",
        "a*",
        "?",
        "[ab]",
        "[v2]",
        "[v2]*",
        ".*",
        "_*",
        "MLTable",
        "a",
        "b",
        "[!a]*",
        "nothing",
    ]
)


@given(
    files=st.sets(st.lists(NAMES, min_size=1, max_size=4).map("/".join), min_size=1, max_size=12),
    glob=st.lists(PARTS, max_size=4).map("/".join),
    is_table=st.booleans(),
)
@example(files={"a/b/a", "a/a", "b", "a-b/a", "a.b/b"}, glob="**", is_table=False)
@example(files={"a/b/a/b", "a/b/b", "a/a/b/a"}, glob="**/b/**", is_table=False)
@example(files={"a/[v2]/a", "b/[v2]/b", "v/2"}, glob="*/[v2]/*", is_table=True)
@example(files={"a/b", "b/a/b"}, glob="*/a/b", is_table=False)
@settings(max_examples=300)
def test_a_store_is_listed_in_the_order_of_local_files(
    tmp_path_factory: pytest.TempPathFactory, files: set[str], glob: str, is_table: bool
) -> None:
    folder = tmp_path_factory.mktemp("tree")
    files = {name for name in files if not any(other.startswith(f"{name}/") for other in files)}
    with zipfile.ZipFile(folder / "a.zip", "w") as archive:
        for name in files:
            path = folder / "in" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
            archive.writestr(f"in/{name}", "")
    pattern = f"in/{glob}".rstrip("/")
    local = FileDataset(folder / pattern)
    store = FileDataset(f"zip://{pattern}", storage_options={"fo": str(folder / "a.zip")})
    if is_table:
        local, store = local.for_table(), store.for_table()
    is_missing = split_glob(pattern)[1] == [] and not (folder / pattern).exists()
    listed = [] if is_missing else [path.removeprefix(f"{folder}/") for path in local.to_path()]
    assert [url.removeprefix("zip://") for url in store.to_path()] == listed
    shutil.rmtree(folder)


TREE = {"": ["d", "e", "f"], "/d": ["d"], "/e": [], "/f": ["d", "e"]}


def list_folder(folder: str, pattern: str) -> Listing[str]:
    """List a tree in which all folders have one file, some are gone and some are closed."""
    path = folder.removeprefix("root")
    if path == "/e":
        raise PermissionError(13, "closed", folder)
    if path not in TREE:
        raise FileNotFoundError(2, "gone", folder)
    names = [name for name in TREE[path] if pattern in {"*", "**", name}]
    return [[f"{folder}/x"]], [f"{folder}/{name}" for name in names]


@pytest.mark.parametrize("threads", [0, 1, 4])
@pytest.mark.parametrize(
    ("parts", "files", "unlisted"),
    [
        (
            ["**"],
            ["root/x", "root/d/x", "root/f/x"],
            ["root/d/d", "root/e", "root/f/d", "root/f/e"],
        ),
        (["*", "*"], ["root/d/x", "root/f/x"], ["root/e"]),
        (["*", "d", "*"], [], []),
        (["*", "d", "e", "*"], [], []),
        (["e", "*"], [], ["root/e"]),
        (["none", "*"], [], []),
        (
            ["**", "**"],
            ["root/x", "root/d/x", "root/f/x"],
            ["root/d/d", "root/e", "root/f/d", "root/f/e"],
        ),
    ],
)
def test_a_folder_that_cannot_be_listed_is_an_item_and_a_missing_one_is_not(
    parts: Sequence[str], files: list[str], unlisted: list[str], threads: int
) -> None:
    pool = ThreadPoolExecutor(threads) if threads else None
    lists = list(walk("root", parts, list_folder, pool))
    assert [path for paths in lists if not isinstance(paths, Unlisted) for path in paths] == files
    assert [paths[0] for paths in lists if isinstance(paths, Unlisted)] == unlisted
    if pool:
        pool.shutdown()


def test_a_broken_link_is_an_item_once_for_a_glob_with_two_stars(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "broken").symlink_to(tmp_path / "nowhere")
    assert FileDataset(tmp_path / "**" / "**").to_path() == [f"{tmp_path}/d/broken"]


def test_a_loop_of_links_matches_no_folder_of_a_glob(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    (tmp_path / "a" / "sub").symlink_to("sub")
    (tmp_path / "b" / "sub").mkdir()
    (tmp_path / "b" / "sub" / "x.csv").touch()
    assert FileDataset(tmp_path / "*" / "sub" / "*.csv").to_path() == [f"{tmp_path}/b/sub/x.csv"]


def test_a_root_that_cannot_be_listed_is_an_error() -> None:
    with pytest.raises(FileNotFoundError):
        list(walk("elsewhere", ["**"], list_folder))


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/a/b", ("/a/b", [])),
        ("/a/b*/c", ("/a", ["b*", "c"])),
        ("/*", ("/", ["*"])),
        ("az://c/a/**/x", ("az://c/a", ["**", "x"])),
        ("az://c*/x", ("az:/", ["c*", "x"])),
        ("az://c/a*//x/", ("az://c", ["a*", "x"])),
    ],
)
def test_a_glob_is_split_before_its_first_pattern(
    path: str, expected: tuple[str, list[str]]
) -> None:
    assert split_glob(path) == expected
