"""Writes github_api.json: the operations of GitHub's REST API that this project calls, from its description.

The description is the npm package @octokit/openapi (MIT). Get it with `npm pack @octokit/openapi@23.0.2`, unpack it,
and run `python -m tests.pull_requests.description package` in the checkout.
"""

import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any, cast

FILE = Path(__file__).with_name("github_api.json")
REPOSITORY = "/repos/{owner}/{repo}"
OPERATIONS = {
    f"{REPOSITORY}": ("get",),
    f"{REPOSITORY}/contents/{{path}}": ("get",),
    f"{REPOSITORY}/git/commits": ("post",),
    f"{REPOSITORY}/git/commits/{{commit_sha}}": ("get",),
    f"{REPOSITORY}/git/ref/{{ref}}": ("get",),
    f"{REPOSITORY}/git/refs": ("post",),
    f"{REPOSITORY}/git/refs/{{ref}}": ("patch",),
    f"{REPOSITORY}/git/trees": ("post",),
    f"{REPOSITORY}/issues/comments/{{comment_id}}": ("patch", "delete"),
    f"{REPOSITORY}/issues/{{issue_number}}/comments": ("get", "post"),
    f"{REPOSITORY}/pulls": ("get", "post"),
    f"{REPOSITORY}/pulls/{{pull_number}}": ("patch",),
    f"{REPOSITORY}/statuses/{{sha}}": ("post",),
}
"""Methods that are called, by path."""
CONTENT = "application/json"
KEPT = {"$ref", "additionalProperties", "allOf", "anyOf", "enum", "format", "items", "maxItems", "maxLength", "maximum",
        "minItems", "minLength", "minimum", "oneOf", "pattern", "properties", "required", "type"}  # fmt: skip
"""Keywords of a schema that are kept; the others describe, or are not part of JSON Schema."""


Json = dict[str, Any]


def extract(description: Json) -> Json:
    """Return paths, parameters, bodies and one example of each response, with the schemas that they refer to."""
    paths = {
        path: {method: _operation(description, description["paths"][path][method]) for method in methods}
        for path, methods in OPERATIONS.items()
    }
    schemas: Json = {}
    missing = set(_references(paths)) | {"basic-error", "validation-error"}
    while missing:
        found = {name: _schema(description["components"]["schemas"][name]) for name in sorted(missing)}
        schemas |= found
        missing = set(_references(found)) - schemas.keys()
    return {"paths": paths, "components": {"schemas": dict(sorted(schemas.items()))}}


def _operation(description: Json, operation: Json) -> Json:
    parameters = [_resolved(description, one) for one in operation["parameters"]]
    body = operation.get("requestBody", {}).get("content", {}).get(CONTENT, {}).get("schema")
    return {
        "operationId": operation["operationId"],
        "parameters": [
            {"required": False, **{key: one[key] for key in ("name", "in", "required") if key in one}}
            | {"schema": _schema(one["schema"])}
            for one in parameters
        ],
        "body": _schema(body) if body else None,
        "responses": {
            status: _response(description, _resolved(description, response))
            for status, response in operation["responses"].items()
        },
    }


def _response(description: Json, response: Json) -> Json | None:
    """Return schema and example of a response; None if it has no body."""
    if not (content := response.get("content", {}).get(CONTENT)):
        return None
    named: Json = content.get("examples", {})
    nothing: Json = {}
    first = next(iter(named.values()), nothing)
    example = _resolved(description, named.get("response-if-content-is-a-file", first)).get("value")
    return {"schema": _schema(content["schema"]), "example": example}


def _resolved(description: Json, node: Json) -> Json:
    while reference := node.get("$ref"):
        node = description
        for part in reference.removeprefix("#/").split("/"):
            node = node[part.replace("~1", "/")]
    return node


def _schema(node: Json) -> Json:
    """Return an OpenAPI 3.0 schema as JSON Schema: `nullable` becomes an alternative."""
    kept: Json = {}
    for key, value in node.items():
        if key == "properties":
            kept[key] = {name: _schema(one) for name, one in value.items()}
        elif key in {"allOf", "anyOf", "oneOf"}:
            kept[key] = [_schema(one) for one in value]
        elif key in {"items", "additionalProperties"} and isinstance(value, dict):
            kept[key] = _schema(cast("Json", value))
        elif key in KEPT:
            kept[key] = value
    return {"anyOf": [kept, {"type": "null"}]} if node.get("nullable") else kept


def _references(node: object) -> Iterable[str]:
    if isinstance(node, dict):
        for key, value in cast("Json", node).items():
            if key == "$ref":
                yield str(value).rpartition("/")[2]
            elif key != "example":
                yield from _references(value)
    elif isinstance(node, list):
        for value in cast("list[object]", node):
            yield from _references(value)


def main(package: Path) -> None:
    """Write the file from the unpacked npm package."""
    about = json.loads((package / "package.json").read_text())
    source = {
        "source": f"{about['name']} {about['version']} (npm), a part of generated/api.github.com.json",
        "license": (package / "LICENSE").read_text().strip(),
    }
    extracted = extract(json.loads((package / "generated/api.github.com.json").read_text()))
    FILE.write_text(json.dumps({**source, **extracted}, separators=(",", ":"), ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
