"""What is said of a part of Azure's SDK that is not here."""

from __future__ import annotations

import inspect
from typing import Any, ClassVar

from ...formatting import nearest_hint

DOCUMENTATION = "docs/azureml.md"


class Partial:
    """A class of Azure's SDK of which not everything is here: what is missing says where to look."""

    _instead: ClassVar[str] = ""
    """What to do instead, where that is one thing."""

    def __getattr__(self, name: str) -> Any:
        kind = type(self)
        if name.startswith("_"):
            msg = f"{kind.__name__!r} object has no attribute {name!r}"
            raise AttributeError(msg)
        known = [known for known, _ in inspect.getmembers(kind) if not known.startswith("_")]
        hint = nearest_hint(name, [*known, *vars(self)])
        msg = (
            f"{kind.__name__}.{name} is not part of the local layer.{hint} {DOCUMENTATION} lists what "
            f"is.{self._instead}"
        )
        raise AttributeError(msg)
