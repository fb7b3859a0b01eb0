"""Registered datasets in scripts: files on this machine, and tables read by pandas."""

from __future__ import annotations

import glob
import os
import shutil

TYPE_CHECKING = False
if TYPE_CHECKING:  # typing is not worth its import in a worker
    from typing import Any


class FileDataset:
    """The files of a registered dataset."""

    def __init__(self, paths: list[str], name: str = "", version: int = 1) -> None:
        self._paths = paths
        self.name = name
        self.version = version
        self.id = "%s:%s" % (name, version)

    def _files(self) -> list[tuple[str, str]]:
        """Return the path of each file, and its path relative to the dataset."""
        pairs = []
        for path in self._paths:
            if "://" in path:
                raise OSError(
                    "dataset %r is at %s, which was not downloaded for this script; pass it to "
                    "the step as "
                    "a side input" % (self.name, path)
                )
            if os.path.isdir(path):
                files = sorted(
                    os.path.join(folder, name)
                    for folder, _folders, names in os.walk(path)
                    for name in names
                )
                pairs += [(file, os.path.relpath(file, path)) for file in files]
            elif os.path.exists(path):
                pairs.append((path, os.path.basename(path)))
            else:
                root = path[: len(path) - len(path.lstrip("/"))] or "/"
                for part in path.lstrip("/").split("/"):
                    if glob.has_magic(part):
                        break
                    root = os.path.join(root, part)
                matches = sorted(glob.glob(path, recursive=True))
                pairs += [(file, os.path.relpath(file, root)) for file in matches]
        return pairs

    def to_path(self) -> list[str]:
        """Return the paths of the files, relative to the dataset."""
        return ["/" + relative for _, relative in self._files()]

    def download(
        self, target_path: str | None = None, overwrite: bool = False, **_: Any
    ) -> list[str]:
        """Copy the files into a folder; return the paths of the copies."""
        if target_path is None:
            return [file for file, _ in self._files()]
        copies = []
        for file, relative in self._files():
            target = os.path.join(target_path, relative)
            if os.path.exists(target) and not overwrite:
                raise FileExistsError("%s exists already; pass overwrite=True" % target)
            os.makedirs(os.path.dirname(target), exist_ok=True)
            shutil.copyfile(file, target)
            copies.append(target)
        return copies

    def mount(self, mount_point: str | None = None, **_: Any) -> Any:
        """Return a context whose ``mount_point`` is a folder with the files."""
        return _Mount(self, mount_point)


class _Mount:
    """Provides the dataset's own folder, or else copies of its files."""

    def __init__(self, dataset: FileDataset, mount_point: str | None) -> None:
        paths = dataset._paths
        is_folder = len(paths) == 1 and os.path.isdir(paths[0])
        self.mount_point = paths[0] if is_folder else mount_point or os.path.abspath(dataset.name)
        if not is_folder:
            dataset.download(self.mount_point, overwrite=True)

    def start(self) -> None:
        """Do nothing: the files are available already."""

    def stop(self) -> None:
        """Do nothing: the files are kept."""

    def __enter__(self) -> Any:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


class TabularDataset(FileDataset):
    """The rows of a registered dataset."""

    def __init__(self, spec: dict[str, Any], name: str = "", version: int = 1) -> None:
        super().__init__(list(spec["paths"]), name, version)
        self._spec = spec

    def to_pandas_dataframe(self, **_: Any) -> Any:
        """Return all rows as one DataFrame."""
        import pandas as pd

        frames = [self._read(pd, file) for file, _ in self._files()]
        return pd.concat(frames, ignore_index=True)

    def _read(self, pd: Any, file: str) -> Any:
        kind = self._spec.get("form")
        options = self._spec.get("options", {})
        if kind == "parquet":
            return pd.read_parquet(file)
        if kind == "json_lines":
            return pd.read_json(file, lines=True, encoding=options["encoding"])
        header = None if options.get("header") == "no_header" else 0
        frame = pd.read_csv(
            file, sep=options["separator"], header=header, encoding=options["encoding"]
        )
        if header is None:
            frame.columns = ["Column%d" % (number + 1) for number in range(frame.shape[1])]
        return frame


def open_dataset(record: dict[str, Any], name: str) -> Any:
    """Return the dataset that a record describes."""
    spec = record["spec"]
    version = record.get("version", 1)
    paths = list(record.get("local") or spec["paths"])
    if spec["kind"] == "files":
        return FileDataset(paths, name, version)
    return TabularDataset(dict(spec, paths=paths), name, version)
