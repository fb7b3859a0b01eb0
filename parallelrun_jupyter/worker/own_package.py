"""Serves ``from parallelrun_jupyter import RetryAfter`` to scripts whose interpreter lacks the package."""

from __future__ import annotations

import sys

from .azureml.finder import LazyFinder

TYPE_CHECKING = False
if TYPE_CHECKING:  # typing is not worth its import in a worker
    from typing import Any

PACKAGE = "parallelrun_jupyter"
_NAMES = ("RetryAfter",)


class OwnPackageFinder(LazyFinder):
    """Serves the names of the package that are for scripts; an installed package comes first."""

    def names_in(self, module: str) -> Any:
        """Return the names in the package; None for other modules."""
        return _NAMES if module == PACKAGE else None

    def load(self, module: str, name: str) -> Any:
        """Return the object for a name in the package."""
        if name not in _NAMES:
            raise AttributeError(
                "%s.%s is not available to scripts of this interpreter (available: %s); install "
                "the package there for other names" % (module, name, ", ".join(_NAMES))
            )
        from .retry_after import RetryAfter

        return RetryAfter


def install() -> None:
    """Serve the package to the script."""
    if not any(isinstance(finder, OwnPackageFinder) for finder in sys.meta_path):
        sys.meta_path.append(OwnPackageFinder())
