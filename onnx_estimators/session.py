"""Computes a network in ONNX format with ONNX Runtime."""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Protocol, cast

import numpy as np
import onnxruntime
from numpy.typing import NDArray

Matrix = NDArray[Any]
INPUT = "rows"
"""Name of the network's input: float32, rows by features."""


class _Session(Protocol):
    """ONNX Runtime's session, whose package has no type annotations."""

    def run(self, outputs: Sequence[str], inputs: dict[str, Matrix]) -> Sequence[Matrix]: ...


@lru_cache(maxsize=8)
def session(network: bytes) -> _Session:
    """Return a session for the network in ONNX format. It computes in one thread, because a server uses several."""
    runtime, options = cast("Any", onnxruntime), cast("Any", onnxruntime).SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return runtime.InferenceSession(network, options, providers=["CPUExecutionProvider"])


def compute(network: bytes, output: str, rows: Matrix) -> Matrix:
    """Return the network's output with this name as float64. `rows` is a dense matrix of numbers."""
    with np.errstate(over="ignore"):  # a number beyond float32 is infinite
        given = np.ascontiguousarray(rows, dtype=np.float32)
    return session(network).run([output], {INPUT: given})[0].astype(np.float64)
