"""ONNX Runtime behind a bare ASGI handler: `python onnx_server.py PORT`.

An upper bound: no checks, float32, one thread.
"""

import json
import sys
from typing import Any

import numpy as np
import onnxruntime
import uvicorn
from skl2onnx import to_onnx
from table import array, load

model = load()
options: dict[Any, Any] = {id(model): {"zipmap": False}}
converted = to_onnx(model, np.zeros((1, 4), dtype=np.float32), options=options)
threads = onnxruntime.SessionOptions()
threads.intra_op_num_threads = 1
session = onnxruntime.InferenceSession(converted.SerializeToString(), threads, providers=["CPUExecutionProvider"])
LABELS = [session.get_outputs()[0].name]
HEADERS = [(b"content-type", b"application/json")]


async def app(scope: Any, receive: Any, send: Any) -> None:
    """Return predictions for a table."""
    if scope["type"] != "http":
        return
    body, more = b"", True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
    rows = array(json.loads(body)).astype(np.float32)
    (labels,) = session.run(LABELS, {"X": rows})
    await send({"type": "http.response.start", "status": 200, "headers": HEADERS})
    await send({"type": "http.response.body", "body": json.dumps({"predictions": labels.tolist()}).encode()})


if __name__ == "__main__":
    uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[1]), log_level="warning", lifespan="off")
