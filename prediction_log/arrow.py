"""pyarrow for this program: it has no type annotations, so its modules and tables have the type Any here."""

from importlib import import_module
from typing import Any, TypeAlias, cast

pa, pc, parquet, csv = (
    cast("Any", import_module(name)) for name in ("pyarrow", "pyarrow.compute", "pyarrow.parquet", "pyarrow.csv")
)
Table: TypeAlias = Any
"""Table of pyarrow."""
Column: TypeAlias = Any
"""Column of a table of pyarrow."""
