"""OpenAPI 3.1 document of the model server."""

from collections.abc import Mapping
from typing import Any

from model_server.responses import JSON

REFUSALS: Mapping[int, str] = {
    400: "The body cannot be read, or does not fit the model's signature.",
    408: "The body did not come in time.",
    413: "The body is too large.",
    429: "Too many requests wait already; try again after Retry-After.",
    500: "The model, or the server, failed on this request.",
    503: "The server is about to stop; try again, on another connection, after Retry-After.",
    504: "No prediction within the deadline.",
}
ERROR: Mapping[str, Any] = {
    "type": "object",
    "properties": {"error_code": {"type": "string"}, "message": {"type": "string"}},
    "required": ["error_code", "message"],
}
# What MLflow's own words are, and those of the HTTP parser.
TEXT: Mapping[str, Any] = {"text/plain": {"schema": {"type": "string"}}}
SUMMARY = "Predictions, in MLflow's scoring protocol."
PAGES: Mapping[str, tuple[str, str]] = {
    "/ping": ("Whether it answers.", JSON),
    "/health": ("Whether it answers.", JSON),
    "/version": ("The release of MLflow whose protocol it speaks; the model's version is in X-Model-Version.", JSON),
    "/metrics": ("Figures for Prometheus.", "text/plain"),
    "/schema": ("JSON Schema of a request's body.", "application/schema+json"),
    "/openapi.json": ("This document.", JSON),
}
PATHS: Mapping[str, str] = {
    "/invocations": f"POST: {SUMMARY}",
    **{path: f"GET: {text}" for path, (text, _) in PAGES.items()},
}
"""One line about each path, for the page at `/`."""


def document(title: str, version: str, body: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the OpenAPI document of a server whose request bodies have the JSON Schema `body`."""
    return {
        "openapi": "3.1.0",
        "info": {"title": title, "version": version},
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
            "200": {"description": "Predictions, one a row.", "content": {JSON: {"schema": predictions}}},
            "415": {"description": "No content type, one that is not known, or a compressed body.", "content": TEXT},
            **refusals,
        },
    }


def _page(path: str) -> Mapping[str, Any]:
    text, media_type = PAGES[path]
    answers: dict[str, Any] = {"200": {"description": text, "content": {media_type: {}}}}
    if path in {"/ping", "/health"}:
        answers["503"] = {"description": "All prediction threads hang.", "content": {JSON: {"schema": ERROR}}}
    return {"get": {"operationId": path.strip("/").split(".")[0], "summary": text, "responses": answers}}
