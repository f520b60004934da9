"""OpenAPI 3.1 document of the model server."""

from collections.abc import Mapping
from typing import Any

from model_server.responses import JSON

REFUSALS: Mapping[int, str] = {
    400: "The body cannot be parsed, or does not match the model's signature.",
    408: "The body did not arrive in time, or others needed its memory and it arrived slowest.",
    413: "The body is too large.",
    429: "Too many requests are queued, or their bodies are too large together; try again after Retry-After.",
    500: "The model or the server failed on this request.",
    503: "The server is stopping; try again on another connection, after Retry-After.",
    504: "There was no prediction within the deadline.",
}
ERROR: Mapping[str, Any] = {
    "type": "object",
    "properties": {"error_code": {"type": "string"}, "message": {"type": "string"}},
    "required": ["error_code", "message"],
}
# Errors of MLflow and of the HTTP parser are plain text.
TEXT: Mapping[str, Any] = {"text/plain": {"schema": {"type": "string"}}}
SUMMARY = "Returns predictions, in MLflow's scoring protocol."
PAGES: Mapping[str, tuple[str, str]] = {
    "/ping": ("Whether the server can predict.", JSON),
    "/health": ("Whether the server can predict.", JSON),
    "/version": ("The MLflow release of the scoring protocol; the model's version is in X-Model-Version.", JSON),
    "/metrics": ("Metrics for Prometheus.", "text/plain"),
    "/schema": ("JSON Schema of a request body.", "application/schema+json"),
    "/openapi.json": ("This document.", JSON),
}
PATHS: Mapping[str, str] = {
    "/invocations": f"POST: {SUMMARY}",
    **{path: f"GET: {text}" for path, (text, _) in PAGES.items()},
}
"""One line about each path, for the page at `/`."""


def document(title: str, version: str, body: Mapping[str, Any], prefix: str = "") -> Mapping[str, Any]:
    """Return the OpenAPI document of a server whose request bodies have the JSON Schema `body`.

    `prefix` is the beginning of the server's paths outside the cluster.
    """
    return {
        "openapi": "3.1.0",
        "info": {"title": title, "version": version},
        **({"servers": [{"url": prefix}]} if prefix else {}),
        "paths": {"/invocations": {"post": _invocations(body)}, **{path: _page(path) for path in PAGES}},
    }


def _invocations(body: Mapping[str, Any]) -> Mapping[str, Any]:
    predictions: dict[str, Any] = {
        "type": "object",
        "properties": {"predictions": {}},
        "required": ["predictions"],
    }
    refusals = {
        str(status): {"description": text, "content": {JSON: {"schema": ERROR}, **TEXT}}
        for status, text in REFUSALS.items()
    }
    return {
        "operationId": "predict",
        "summary": SUMMARY,
        "requestBody": {
            "required": True,
            "content": {JSON: {"schema": body}, "text/csv": {"schema": {"type": "string"}}},
        },
        "responses": {
            "200": {"description": "One prediction for each row.", "content": {JSON: {"schema": predictions}}},
            "415": {
                "description": "The content type is missing or unknown, or the body is compressed.",
                "content": TEXT,
            },
            **refusals,
        },
    }


def _page(path: str) -> Mapping[str, Any]:
    text, media_type = PAGES[path]
    answers: dict[str, Any] = {"200": {"description": text, "content": {media_type: {}}}}
    if path in {"/ping", "/health"}:
        answers["503"] = {"description": "All prediction threads hang.", "content": {JSON: {"schema": ERROR}}}
    return {"get": {"operationId": path.strip("/").split(".")[0], "summary": text, "responses": answers}}
