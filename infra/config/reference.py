"""Reference page of the stack file, generated as Markdown from its JSON Schema."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

import yaml

from infra.config.problems import PREFIX

TYPES = {"string": "text", "integer": "whole number", "number": "number", "boolean": "true or false"}
INTRODUCTION = f"""# The stack file

Each key that you can write in `Pulumi.<stack>.yaml`, with its type, default, rule and an example. The keys are below
`config`; a key that is not listed here is an error. `NAME` in a heading is a name that you choose.

`pulumi config set --path '{PREFIX}endpoints.churn-predictor.version' 8` changes one value. `Pulumi.dev.yaml` and
`Pulumi.prod.yaml` are complete examples. Editors complete keys and show these texts when the first line of the file is
`# yaml-language-server: $schema=schema/stack.schema.json`.

`make schema` generates this page from the settings classes in `infra/`. To change a text, change the docstring there.
"""
STATED_DEFAULT = re.compile(r" ?Default: (.+?)\.(?= |$)")
"""Default that depends on other settings and is therefore stated in the description."""


def page(schema: Mapping[str, Any]) -> str:
    """Return the page for a schema of `infra.config.schema.tree`.

    Each definition of the schema has one section, at the first key that uses it; later keys link to that section.
    """
    sections = [INTRODUCTION]
    config, definitions, placed = schema["properties"]["config"], schema["$defs"], dict[str, str]()
    secrets = {key: value for key, value in config["properties"].items() if "secure" in value.get("properties", {})}
    for key, value in config["properties"].items():
        if key in secrets:
            continue
        need = "Required." if key in config["required"] else "Optional."
        sections.append(f"## `{key}`\n\n{_meaning(value)} {need}\n")
        waiting, outer = list(_parts(key, value)), ""
        placed |= {name: heading for heading, name in waiting}
        while waiting:
            heading, name = waiting.pop(0)
            outer = heading if heading.startswith(f"`{key}` ") else outer
            if heading != f"`{key}`":
                sections.append(f"### {heading}\n\n{definitions[name]['description']}\n")
            inner = [
                (f"{place} in {outer}" if place in placed.values() else place, part)
                for each, field in definitions[name]["properties"].items()
                for place, part in _parts(f"{heading.split('`')[1]}.{each}", field)
                if part not in placed
            ]
            placed |= {part: place for place, part in reversed(inner)}
            sections.append(_table(definitions[name], definitions, placed))
            waiting = [part for part in inner if placed[part[1]] == part[0]] + waiting
    sections.append(_secrets(secrets))
    return "\n".join(sections)


def _parts(key: str, value: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield heading and name of each definition that a key's value consists of."""
    if "$ref" in value:
        yield f"`{key}`", _name(value["$ref"])
    for kind, reference in value.get("discriminator", {}).get("mapping", {}).items():
        yield f"`{key}` with `kind: {kind}`", _name(reference)
    for alternative in value.get("anyOf", []):
        yield from _parts(key, alternative)
    for inner in _entries(value):
        yield from _parts(f"{key}.NAME", inner)


def _entries(value: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return the schemas of a mapping's values."""
    return [each for each in [value.get("additionalProperties"), *value.get("patternProperties", {}).values()] if each]


def _table(definition: Mapping[str, Any], definitions: Mapping[str, Any], placed: Mapping[str, str]) -> str:
    rows = ["| key | type | default | meaning and rule | example |", "| --- | --- | --- | --- | --- |"]
    for key, value in definition["properties"].items():
        default = "required" if key in definition.get("required", []) else _default(value, definitions)
        example = " ".join(_code(example) for example in value.get("examples", []))
        text = "<br>".join([_meaning(value), *_rules(value)])
        rows.append("| " + " | ".join(map(_cell, [f"`{key}`", _type(value, placed), default, text, example])) + " |")
    return "\n".join(rows) + "\n"


def _type(value: Mapping[str, Any], placed: Mapping[str, str]) -> str:
    if "$ref" in value or "discriminator" in value:
        references = [value["$ref"]] if "$ref" in value else value["discriminator"]["mapping"].values()
        return " or ".join(_link(placed[_name(reference)]) for reference in references)
    if "const" in value or "enum" in value:
        return " or ".join(_code(each) for each in value.get("enum", [value.get("const")]))
    if "anyOf" in value:
        return " or ".join(dict.fromkeys(_type(each, placed) for each in value["anyOf"] if each != {"type": "null"}))
    if value["type"] == "array":
        return f"list of: {_type(value['items'], placed)}"
    if value["type"] == "object":
        return f"mapping of names to: {' or '.join(_type(each, placed) for each in _entries(value))}"
    names = [value["type"]] if isinstance(value["type"], str) else value["type"]
    return " or ".join(TYPES[each] for each in names)


def _default(value: Mapping[str, Any], definitions: Mapping[str, Any]) -> str:
    if stated := STATED_DEFAULT.search(value.get("description", "")):
        return stated[1] if " " in stated[1] and stated[1][0] not in "{[" else f"`{stated[1].strip('`')}`"
    default = value.get("default")
    if default is None:
        return "none"
    if "$ref" in value:
        keys = definitions[_name(value["$ref"])]["properties"]
        default = {
            key: each for key, each in default.items() if "default" not in keys[key] or keys[key]["default"] != each
        }
        return _code(default) if default else "that of each key"
    return _code(default)


def _meaning(value: Mapping[str, Any]) -> str:
    """Return the description of a key, which precedes the rule."""
    return STATED_DEFAULT.sub("", value["description"].split("\n\n")[0])


def _rules(value: Mapping[str, Any]) -> list[str]:
    """Return the rules of a key's value and of its entries; for a truth value, the type is enough."""
    if value.get("type") == "boolean":
        return []
    own = value["description"].split("\n\n")[1:]
    alternatives = [each["description"] for each in value.get("anyOf", []) if "description" in each]
    entries = [value["items"]] if "items" in value else [each for each in _entries(value) if "$ref" not in each]
    of_entries = [f"Each m{each['description'][1:]}" for each in entries if "description" in each]
    return [text.replace("<", "&lt;") for text in [*own, *alternatives, *of_entries]]


def _secrets(secrets: Mapping[str, Mapping[str, Any]]) -> str:
    rows = [f"| `{key}` | {_cell(_meaning(value))} | {_cell(_rules(value)[0])} |" for key, value in secrets.items()]
    kinds = f"`{PREFIX}database_password` is required in each stack, the others in a stack of `kind: local`."
    return "\n".join([f"## Secrets\n\n{kinds}\n", "| key | meaning | rule |", "| --- | --- | --- |", *rows, ""])


def _name(reference: str) -> str:
    return reference.rpartition("/")[2]


def _link(heading: str) -> str:
    anchor = re.sub(r"[-\s]+", "-", re.sub(r"[^\w\s-]", "", heading).strip().lower())
    return f"[{heading.replace(PREFIX, '')}](#{anchor})"


def _code(value: object) -> str:
    text = yaml.safe_dump(value, default_flow_style=True, width=10_000, sort_keys=False).removesuffix("...\n").strip()
    return f"`{text}`"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
