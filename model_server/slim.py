"""Removes files that no server needs from the image's virtual environment: `/app/venv/bin/python slim.py`.

Afterwards it imports every package that a server may need, so that the build fails if too much is gone. An image for
the packages of one model version lacks some of them. Only the imported modules get bytecode. This file needs the
standard library alone, and runs while the image is built.
"""

import importlib
import os
import py_compile
import shutil
import struct
import sys
import sysconfig
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

# Unused parts: tests, Arrow's RPC, C headers, example data, matrix files, curve fitting, ONNX Runtime's C library and
# tools.
UNUSED = (
    "**/tests", "numpy/_core/_simd.*", "onnxruntime/capi/libonnxruntime.so.*", "onnxruntime/datasets",
    "onnxruntime/quantization", "onnxruntime/tools", "onnxruntime/transformers", "pyarrow/*flight*", "pyarrow/include",
    "scipy/io/_fast_matrix_market/_fmm_core.*", "scipy/odr", "sklearn/datasets/data", "sklearn/datasets/images",
)  # fmt: skip
# botocore describes 400 AWS services; the server needs these.
AWS_DATA, AWS_SERVICES = "botocore/data/*/", frozenset({"s3", "sts"})
SOURCES = frozenset({".c", ".cpp", ".h", ".hpp", ".pxd", ".pxi", ".pyi", ".pyx", ".tp"})
# Modules that a server may import, for any supported model flavour and request body.
IMPORTED = (
    "boto3.s3.inject", "httptools", "lightgbm", "mlflow.lightgbm", "mlflow.pyfunc.scoring_server", "mlflow.sklearn",
    "mlflow.xgboost", "msgspec", "onnxruntime", "opentelemetry.exporter.otlp.proto.http.trace_exporter", "pandas",
    "prometheus_client", "pyarrow.dataset", "pyarrow.fs", "pyarrow.parquet", "pydantic_settings", "scipy.special",
    "scipy.stats", "skops.io", "sklearn.compose", "sklearn.ensemble", "sklearn.impute", "sklearn.linear_model",
    "sklearn.neighbors", "sklearn.neural_network", "sklearn.pipeline", "sklearn.preprocessing", "sklearn.svm",
    "sklearn.tree", "uvicorn.lifespan.on", "uvicorn.loops.uvloop", "uvicorn.protocols.http.httptools_impl", "uvloop",
    "xgboost", "yaml",
)  # fmt: skip
# Offsets in the header of a 64-bit ELF file: segment table, its entry size and count, section table, its fields.
SEGMENTS, SEGMENT_SIZES, SECTIONS, SECTION_COUNTS = 32, 54, 40, 58


def main() -> None:
    """Shrink the virtual environment of this interpreter, and check that it still works."""
    site = Path(sysconfig.get_path("platlib"))
    for path in unused(site):
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    libraries = [path for path in sorted(site.rglob("*.so*")) if not path.is_symlink()]
    for library in libraries:
        library.write_bytes(loaded(library.read_bytes()))
    link_twins(libraries)
    for name in IMPORTED:
        if find_spec(name.partition(".")[0]):
            importlib.import_module(name)
    for module in list(sys.modules.values()):
        file = getattr(module, "__file__", None) or ""
        if file.startswith(f"{site}{os.sep}") and file.endswith(".py"):
            # Files in an image never change, so Python need not compare the bytecode with its source at each start.
            py_compile.compile(file, doraise=True, invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH)


def unused(site: Path) -> Iterator[Path]:
    """Return the folders and files to delete, none of them inside another."""
    folders = [path for pattern in UNUSED for path in site.glob(pattern)]
    folders += [path for path in site.glob(AWS_DATA) if path.name not in AWS_SERVICES]
    outer = {path for path in folders if not any(above in folders for above in path.parents)}
    yield from outer
    for path in site.rglob("*"):
        if path.suffix in SOURCES and path.is_file() and not any(above in outer for above in (path, *path.parents)):
            yield path


def loaded(library: bytes) -> bytes:
    """Return the part of an ELF file that is loaded into memory, without the debug symbols after it."""
    if library[:5] != b"\x7fELF\x02":
        return library
    (start,) = struct.unpack_from("<Q", library, SEGMENTS)
    size, count = struct.unpack_from("<HH", library, SEGMENT_SIZES)
    # Each entry holds the segment's offset in the file at byte 8, and its size in the file at byte 32.
    positions = range(start, start + size * count, size)
    end = max(sum(struct.unpack_from("<Q16xQ", library, position + 8)) for position in positions)
    shorter = bytearray(library[: max(end, start + size * count)])
    struct.pack_into("<Q", shorter, SECTIONS, 0)
    struct.pack_into("<HHH", shorter, SECTION_COUNTS, 0, 0, 0)
    return bytes(shorter)


def link_twins(libraries: list[Path]) -> None:
    """Replace copies of the same library in one folder with symbolic links, which a wheel cannot contain."""
    known: dict[tuple[Path, bytes], Path] = {}
    for library in libraries:
        first = known.setdefault((library.parent, library.read_bytes()), library)
        if first != library:
            library.unlink()
            library.symlink_to(first.name)


if __name__ == "__main__":
    main()
