"""Recognizes exceptions without importing their packages: base types, lack of memory, asked delays."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:  # typing is not worth its import in a worker
    from typing import Any, Iterator

OUT_OF_MEMORY = "out_of_memory"
"""The kind of failures for lack of memory of the machine or of an accelerator."""

_MAX_LINKS = 50
_MAX_BASES = 30
_NAME_CHARS = 200
_ENOMEM = 12

_MEMORY_TYPES = {"OutOfMemoryError", "MemoryError"}
"""Names of types in the MRO: Python's, numpy's and pyarrow's errors, torch's and cupy's."""

_MEMORY_TEXTS = (
    "CUDA out of memory",
    "HIP out of memory",
    "MPS backend out of memory",
    "CUDA error: out of memory",
    "DefaultCPUAllocator: can't allocate memory",
    "DefaultCPUAllocator: not enough memory",
    "RESOURCE_EXHAUSTED: Out of memory",
)
"""Texts of a RuntimeError for lack of memory, of torch and of JAX."""


def links(error: BaseException, *, follow_context: bool) -> Iterator[BaseException]:
    """Yield an exception and its causes, each once."""
    waiting = [error]
    seen: set[int] = set()
    while waiting and len(seen) < _MAX_LINKS:
        link = waiting.pop()
        if id(link) in seen:
            continue
        seen.add(id(link))
        yield link
        reasons = list(members(link))
        if link.__cause__ is not None:
            reasons.insert(0, link.__cause__)
        elif follow_context and link.__context__ is not None:
            reasons.insert(0, link.__context__)
        waiting.extend(reversed(reasons))


def members(error: BaseException) -> list[BaseException]:
    """Return the exceptions of an exception group, of Python or of the backport."""
    inner = getattr(error, "exceptions", ()) if "Group" in type(error).__name__ else ()
    if not isinstance(inner, (tuple, list)):
        return []
    return [member for member in inner if isinstance(member, BaseException)]


def base_names(error: BaseException) -> list[str]:
    """Return the names of an exception's type and of its base types, from the type to its last base.

    A type of a module has two names, such as ``ConnectionError`` and
    ``requests.exceptions.ConnectionError``; a builtin type, and one of this package, has one.
    """
    own = __name__.rpartition(".")[0]
    names = []  # type: list[str]
    for kind in type(error).__mro__[:_MAX_BASES]:
        if kind is object:
            continue
        module = str(getattr(kind, "__module__", ""))
        forms = [kind.__name__]
        if module not in ("builtins", "") and not module.startswith(own + "."):
            forms.append("%s.%s" % (module, kind.__qualname__))
        names += [form[:_NAME_CHARS] for form in forms if form[:_NAME_CHARS] not in names]
    return names


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an exception, or one that it wraps, reports a lack of memory."""
    return any(map(_lacks_memory, links(error, follow_context=True)))


def _lacks_memory(error: BaseException) -> bool:
    kinds = {kind.__name__ for kind in type(error).__mro__}
    if kinds & _MEMORY_TYPES:
        return True
    if isinstance(error, OSError):
        return error.errno == _ENOMEM
    if "ResourceExhaustedError" in kinds:  # TensorFlow's, also for other resources
        return any(part in _text(error) for part in ("OOM", "ut of memory", "allocate memory"))
    if "ParserError" in kinds:  # pandas'
        return "out of memory" in _text(error)
    if isinstance(error, RuntimeError):
        text = _text(error)
        return any(part in text for part in _MEMORY_TEXTS)
    return False


def _text(error: BaseException) -> str:
    try:
        return str(error)
    except BaseException:  # the user's own __str__
        return ""


def asked_delay_s(error: BaseException) -> float | None:
    """Return the seconds that a ``RetryAfter`` asks for, even a wrapped one; None without one."""
    for link in links(error, follow_context=True):
        # The script may have imported the class from another copy of this package.
        if any(kind.__name__ == "RetryAfter" for kind in type(link).__mro__):
            seconds = link.__dict__.get("seconds")  # type: Any
            if type(seconds) in (int, float) and 0 <= seconds < float("inf"):
                return float(seconds)
    return None


def drop_frames(error: BaseException) -> None:
    """Drop the local variables of the calls that an exception has ended, and so free their memory.

    The lines of its traceback remain.
    """
    for link in links(error, follow_context=True):
        position: Any = link.__traceback__
        while position is not None:
            try:
                position.tb_frame.clear()
            except RuntimeError:
                pass  # the call goes on
            position = position.tb_next
