from __future__ import annotations

import fnmatch
import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parallelrun_jupyter import FileDataset
from parallelrun_jupyter.data.files import group_items
from parallelrun_jupyter.errors import InputError

BELOW = ["sub/d.png", "sub/_key=1/f.png", "sub/deep/e.png", "z/a.png"]


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for name in [
        "b.png",
        "a.png",
        "c.txt",
        ".hidden.png",
        "sub/d.png",
        "sub/deep/e.png",
        "z/a.png",
        "z/MLTable",
        "_SUCCESS",
        "_temporary/0/half.png",
        "sub/_d.png",
        "sub/_key=1/f.png",
    ]:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    return tmp_path


def names(tree: Path, dataset: FileDataset) -> list[str]:
    return [os.path.relpath(path, tree) for path in dataset.to_path()]


def test_a_folder_is_listed_folder_by_folder(tree: Path) -> None:
    listed = names(tree, FileDataset(tree))
    assert listed == [
        "a.png", "b.png", "c.txt", "sub/d.png", "sub/_key=1/f.png", "sub/deep/e.png", "z/a.png"
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("glob", "expected"),
    [
        ("*.png", ["a.png", "b.png"]),
        ("*/*.png", ["sub/d.png", "z/a.png"]),
        ("**/*.png", ["a.png", "b.png", *BELOW]),
        ("**", ["a.png", "b.png", "c.txt", *BELOW]),
        ("**/deep/**/*.png", ["sub/deep/e.png"]),
        ("**/**/*.png", ["a.png", "b.png", *BELOW]),
        ("[ab].png", ["a.png", "b.png"]),
        ("?.txt", ["c.txt"]),
        (".*.png", [".hidden.png"]),
        ("*/MLTable", ["z/MLTable"]),
        ("_*", ["_SUCCESS"]),
        ("**/_*.png", ["sub/_d.png"]),
        ("_temporary/*/*.png", ["_temporary/0/half.png"]),
        ("_temporary", ["_temporary/0/half.png"]),
        ("_SUCCESS", ["_SUCCESS"]),
        ("s*/deep/*", ["sub/deep/e.png"]),
    ],
)
def test_globs(tree: Path, glob: str, expected: list[str]) -> None:
    assert names(tree, FileDataset(str(tree / glob))) == expected


def test_inputs_keep_the_order_they_are_given_in_and_may_repeat(tree: Path) -> None:
    listed = names(tree, FileDataset([tree / "c.txt", str(tree / "*.png"), tree / "c.txt"]))
    assert listed == ["c.txt", "a.png", "b.png", "c.txt"]


def test_a_name_with_magic_characters_is_taken_literally_where_it_exists(tree: Path) -> None:
    (tree / "x[1].png").write_text("x")
    assert names(tree, FileDataset(tree / "x[1].png")) == ["x[1].png"]


def test_a_link_back_is_not_followed_and_another_is(tree: Path) -> None:
    (tree / "sub" / "up").symlink_to(tree)
    (tree / "link").symlink_to(tree / "z")
    listed = names(tree, FileDataset(tree))
    assert listed.count("link/a.png") == 1
    assert not [name for name in listed if "up" in name]


def test_relative_paths_are_fixed_when_the_dataset_is_made(
    tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tree)
    dataset = FileDataset("*.txt")
    monkeypatch.chdir("/")
    assert dataset.to_path() == [str(tree / "c.txt")]


def test_sizes_and_times_are_those_of_the_files(tree: Path) -> None:
    [[(path, size, mtime)]] = FileDataset(tree / "c.txt").folders()
    assert (size, mtime) == (len("c.txt"), os.stat(path).st_mtime_ns)


@pytest.mark.parametrize(
    ("path", "message"),
    [
        (
            "*.jpg",
            r"the glob '.*/\*\.jpg' matches no file; '.*' holds .*_SUCCESS, _temporary, a\.png",
        ),
        ("none/*.jpg", r"'.*/none' does not exist; '.*' holds"),
        ("none/x.jpg", r"the input '.*/none/x\.jpg' does not exist; '.*' holds"),
        ("empty", r"the input folder '.*/empty' holds no files\."),
        (
            "marks",
            r"'.*/marks' holds no files but _SUCCESS: names that begin with a dot or an unders",
        ),
    ],
)
def test_an_input_that_matches_nothing_says_what_is_there(
    tree: Path, path: str, message: str
) -> None:
    (tree / "empty").mkdir()
    (tree / "marks").mkdir()
    (tree / "marks" / "_SUCCESS").touch()
    with pytest.raises(InputError, match=message):
        FileDataset(tree / path).check()


def test_what_no_worker_could_read_is_refused() -> None:
    with pytest.raises(InputError, match="is in the memory of this process, and a run has"):
        FileDataset("memory://x.png")
    with pytest.raises(InputError, match="an input path is empty"):
        FileDataset(" ")
    with pytest.raises(InputError, match="was given an empty list"):
        FileDataset([])


def test_a_broken_link_is_an_error_that_names_it(tree: Path) -> None:
    (tree / "broken.png").symlink_to(tree / "nowhere")
    with pytest.raises(InputError, match=r"could not be listed: No such file.*broken\.png"):
        FileDataset(tree).to_path()


@given(st.lists(st.integers(0, 7), max_size=12), st.integers(1, 9))
def test_groups_hold_every_item_once_in_order(folder_sizes: list[int], size: int) -> None:
    numbers = iter(range(1000))
    folders = [[(str(next(numbers)), 0, 0) for _ in range(n)] for n in folder_sizes]
    groups = list(group_items(folders, size))
    assert [item for group in groups for item in group] == [i for f in folders for i in f]
    assert all(len(group) == size for group in groups[:-1])
    assert all(group for group in groups)


@settings(max_examples=60)
@given(
    st.sets(st.text("ab._", min_size=1, max_size=3).filter(lambda n: n.strip(".")), max_size=8),
    st.text("ab._*?", min_size=1, max_size=4),
)
def test_one_level_globs_agree_with_fnmatch(
    tmp_path_factory: pytest.TempPathFactory, found: set[str], glob: str
) -> None:
    folder = tmp_path_factory.mktemp("glob")
    for name in found:
        (folder / name).touch()
    if "**" in glob or not set(glob) & set("*?"):
        return
    hidden = glob.startswith((".", "_"))
    expected = [n for n in sorted(found) if fnmatch.fnmatchcase(n, glob)]
    expected = [n for n in expected if hidden or not n.startswith((".", "_"))]
    assert [os.path.basename(p) for p in FileDataset(str(folder / glob)).to_path()] == expected


def test_copies_keep_what_a_folder_of_code_needs(tree: Path, tmp_path: Path) -> None:
    (tree / "sub" / "__init__.py").touch()
    copies = FileDataset(tree / "sub").download(tmp_path / "copy")
    inside = sorted(os.path.relpath(path, tmp_path / "copy") for path in copies)
    assert inside == ["__init__.py", "_d.png", "_key=1/f.png", "d.png", "deep/e.png"]
