"""LitServe server: `python litserve_server.py PORT`."""

import sys
from typing import Any, cast

import litserve
from fastapi import Request
from table import array, load


class Model(litserve.LitAPI):
    """API with one worker and one model."""

    def setup(self, device: str) -> None:
        del device
        self.model = load()

    def decode_request(self, request: Request) -> Any:
        return array(cast("Any", request))  # LitServe passes the parsed body

    def predict(self, x: Any) -> Any:
        return self.model.predict(x)

    def encode_response(self, output: Any) -> Any:
        return {"predictions": output.tolist()}


if __name__ == "__main__":
    server = litserve.LitServer(Model(api_path="/invocations"), accelerator="cpu", workers_per_device=1)
    server.run(port=int(sys.argv[1]), host="127.0.0.1", generate_client_file=False, log_level="warning")
