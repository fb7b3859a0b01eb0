"""Reads row groups of Parquet files."""

from __future__ import annotations

import base64

from .failures import BadInput

TYPE_CHECKING = False
if TYPE_CHECKING:  # typing is not worth its import in a worker
    from typing import Any


def read_row_groups(path: str, part: list[int], table: dict[str, Any]) -> Any:
    """Return the rows of row groups as a DataFrame of the dataset's columns and types."""
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError as error:
        raise BadInput(
            "Parquet is read with pyarrow, which this interpreter cannot import (%s); "
            "add pyarrow to the run's environment" % error
        )
    schema = pa.ipc.read_schema(pa.py_buffer(base64.b64decode(table["schema"])))
    try:
        file = pq.ParquetFile(path)
        rows = file.read_row_groups(list(range(part[0], part[1])), columns=schema.names)
        rows = rows.select(schema.names).cast(schema).replace_schema_metadata(None)
    except (OSError, pa.ArrowException) as error:
        raise BadInput(
            "%s: row groups %d to %d could not be read: %s" % (path, part[0], part[1] - 1, error)
        )
    frame = rows.to_pandas()
    for name in table["gaps"]:
        # Where this mini-batch has no gap, its type is still that of those which have one.
        kind = "float64" if pa.types.is_integer(schema.field(name).type) else "object"
        frame[name] = frame[name].astype(kind)
    return frame
