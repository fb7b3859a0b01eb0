from __future__ import annotations

import os
from pathlib import Path

import pytest

from parallelrun_jupyter.data.staging.cache import Cache, View, digest_of, open_cache, root_of
from parallelrun_jupyter.errors import ConfigError

SIZE = 1000


class Clock:
    now = 1_800_000_000.0

    def __call__(self) -> float:
        self.now += 1
        return self.now


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(tmp_path / "cache", 10 * SIZE, clock=Clock())


def download(cache: Cache, view: View, name: str) -> Path:
    """Download and pin a file, as the stager does."""
    digest = digest_of("store", name, SIZE, "etag")
    link = view.path_for("0", name, digest)
    if not cache.pin(digest, link, SIZE):
        temporary = cache.temporary_path(digest)
        temporary.write_bytes(name[-1:].encode() * SIZE)
        cache.add(digest, temporary, link)
    return link


def has(cache: Cache, name: str) -> bool:
    return cache.entry_path(digest_of("store", name, SIZE, "etag")).exists()


def test_the_least_recently_used_entry_is_evicted_unless_pinned(cache: Cache) -> None:
    view = View(cache, "run")
    links = [download(cache, view, f"c/{k}") for k in range(10)]
    for link in links[1:]:
        link.unlink()
    download(cache, view, "c/1").unlink()  # used again, and released
    download(cache, view, "c/a")
    cache.update_usage()
    assert has(cache, "c/0"), "pinned"
    assert not has(cache, "c/2"), "the oldest that is not pinned"
    assert has(cache, "c/1"), "used since then"
    assert links[0].read_bytes() == b"0" * SIZE
    kept = sum(has(cache, f"c/{k}") for k in (*range(10), "a"))
    assert kept == 9, "nine tenths of the limit"
    view.close()


def test_pinned_entries_may_exceed_the_limit(cache: Cache) -> None:
    view = View(cache, "run")
    links = [download(cache, view, f"c/{k:02d}") for k in range(15)]
    cache.update_usage()
    assert all(link.exists() for link in links)
    view.close()
    cache.evict_unused()
    assert not any(has(cache, f"c/{k:02d}") for k in range(15))


def test_two_caches_of_a_folder_share_their_entries(cache: Cache) -> None:
    view = View(cache, "one")
    download(cache, view, "c/a.png")
    cache.update_usage()
    other = Cache(cache.folder, 10 * SIZE)
    twin = View(other, "two")
    link = twin.path_for("0", "c/a.png", "d")
    assert other.pin(digest_of("store", "c/a.png", SIZE, "etag"), link, SIZE)
    assert link.name == "a.png"
    assert not other.pin(digest_of("store", "c/a.png", SIZE, "new etag"), link, SIZE)
    view.close()
    twin.close()


def test_a_modified_entry_is_not_used(cache: Cache) -> None:
    view = View(cache, "run")
    link = download(cache, view, "c/a")
    os.chmod(link, 0o600)
    link.write_bytes(b"short")
    again = view.path / "again"
    assert not cache.pin(digest_of("store", "c/a", SIZE, "etag"), again, SIZE)
    view.close()


def test_views_of_dead_processes_are_removed(cache: Cache) -> None:
    alive, dead = View(cache, "alive"), View(cache, "dead")
    download(cache, alive, "c/a")
    download(cache, dead, "c/a")
    os.close(dead._lock)  # as the kernel does at the end of a process
    View(cache, "next").close()
    assert alive.path.exists()
    assert not dead.path.exists()
    alive.close()
    assert os.listdir(cache.folder / "views") == []


def test_files_keep_valid_names(cache: Cache) -> None:
    view = View(cache, "run")
    assert view.path_for("0", "c/a/b.png", "d1").relative_to(view.path) == Path("0/c/a/b.png")
    up = view.path_for("0", "c/../../x.png", "d2")
    assert up.resolve().is_relative_to(view.path.resolve())
    long = view.path_for("0", f"c/{'x' * 500}.png", "d3")
    assert long.suffix == ".png"
    long.touch()
    view.path_for("0", "c/file", "d4").touch()
    below = view.path_for("0", "c/file/below.txt", "d5")  # a blob may be a file and a folder
    below.touch()
    assert below.name == "below.txt"
    taken = view.path_for("0", "c/file", "d6")
    assert taken != view.path / "0/c/file"
    assert taken.name == "file"
    view.close()


def test_unfinished_downloads_of_dead_processes_are_removed(cache: Cache) -> None:
    temporary = cache.temporary_path(digest_of("store", "c/a", 1, ""))
    dead = temporary.with_name(temporary.name.replace(f".{os.getpid()}.", ".4194305."))
    dead.write_bytes(b"half")
    os.utime(dead, (1, 1))
    temporary.write_bytes(b"half")
    os.utime(temporary, (1, 1))
    cache.evict_unused()
    assert not dead.exists()
    assert temporary.exists(), "its process lives"


def test_a_file_without_a_version_is_not_shared() -> None:
    assert digest_of("s", "u", 1, "", "run1") != digest_of("s", "u", 1, "", "run2")
    assert digest_of("s", "u", 1, "e", "run1") == digest_of("s", "u", 1, "e", "run2")
    assert digest_of("s", "u", 1, "e") != digest_of("other", "u", 1, "e")


@pytest.mark.parametrize(
    ("url", "paths", "root"),
    [
        ("az://c/labels.txt", ["V/c/labels.txt"], "V/c/labels.txt"),
        ("az://c/folder", ["V/c/folder/one.txt"], "V/c/folder"),
        ("az://c/folder/*.txt", ["V/c/folder/one.txt"], "V/c/folder"),
        ("az://c", ["V/c/one.txt", "V/c/two.txt"], "V/c"),
        ("az://c/[v2]", ["V/c/[v2]/one.txt"], "V/c/[v2]"),
        ("az://c/[v2]", ["V/c/v/one.txt"], "V/c"),
        ("az://c/a[1].txt", ["V/c/a[1].txt"], "V/c/a[1].txt"),
        ("az://c/x/../y", ["V/c/x/%2E%2E/y/one.txt"], "V/c/x/%2E%2E/y"),
    ],
)
def test_the_root_of_a_dataset_is_its_file_or_folder(
    tmp_path: Path, url: str, paths: list[str], root: str
) -> None:
    real = [path.replace("V", str(tmp_path), 1) for path in paths]
    for path in real:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Path(path).touch()
    assert root_of(tmp_path, url, real) == root.replace("V", str(tmp_path), 1)


def test_the_settings_of_the_cache(tmp_path: Path) -> None:
    environ = {"PARALLELRUN_CACHE": str(tmp_path / "c"), "PARALLELRUN_CACHE_SIZE": "5MB"}
    cache = open_cache(environ)
    assert (cache.folder, cache.limit_bytes) == (tmp_path / "c", 5 << 20)
    with pytest.raises(ConfigError, match="PARALLELRUN_CACHE_SIZE is 'much'; expected a size"):
        open_cache({**environ, "PARALLELRUN_CACHE_SIZE": "much"})
