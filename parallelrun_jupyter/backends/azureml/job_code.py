"""A digest of the code of a job: after a correction of the script, the old job is not waited for."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

from ...runs.run_folder import RunFolder
from ...runs.run_record import RunRecord


def digest_of(folder: RunFolder, record: RunRecord) -> str:
    """Return the digest of a run's script, variables, and place."""
    digest = hashlib.sha256()
    for root in (folder.script, folder.uses):
        for path in _files_under(root):
            digest.update(str(path.relative_to(folder.path)).encode("utf-8", "surrogateescape"))
            digest.update(hashlib.sha256(path.read_bytes()).digest())
    facts = [record.placement.compute, record.script.path, record.script.arguments]
    digest.update(json.dumps(facts, sort_keys=True).encode())
    return digest.hexdigest()


def _files_under(root: Path) -> Iterator[Path]:
    ignored = "__pycache__"
    yield from sorted(p for p in root.rglob("*") if p.is_file() and ignored not in p.parts)
