"""Write the JSON Schema of the stack files and its reference page: `python -m infra.config.schema`.

With `--check` nothing is written; the exit code is 1 when a file is not up to date. Editors complete keys from the
schema when the first line of a stack file names it: `# yaml-language-server: $schema=schema/stack.schema.json`.
"""

import ast
import inspect
import json
import sys
from itertools import pairwise
from pathlib import Path
from textwrap import dedent
from typing import Any, get_args

import yaml

from infra.config import reference
from infra.config.problems import PREFIX
from infra.config.section import Model
from infra.config.stack import Settings, all_secrets

ROOT = Path(__file__).parents[2]
EXAMPLE = "Example: "
"""Text in a field's docstring that precedes an example value in YAML."""


def tree() -> dict[str, Any]:
    """Return the JSON Schema of `Pulumi.<stack>.yaml`, with keys in the order in which the settings declare them."""
    settings = Settings.model_json_schema()
    _describe(settings, Settings)
    definitions: dict[str, Any] = settings.pop("$defs")
    for model in _models(Settings):
        if model is not Settings:
            _describe(definitions[model.__name__], model)
    secrets = sorted(all_secrets())
    properties = {
        **{PREFIX + key: value for key, value in settings["properties"].items()},
        **{PREFIX + key: _secret(key) for key in secrets},
    }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Pulumi stack file of this program",
        "type": "object",
        "required": ["config"],
        "properties": {
            "config": {
                "type": "object",
                "required": [PREFIX + key for key in settings["required"]],
                "properties": properties,
                # An unknown key with the prefix mlops: is an error; keys of providers, such as aws:region, are not.
                "patternProperties": {f"^{PREFIX}(?!({'|'.join(sorted(Settings.model_fields) + secrets)})$)": False},
            }
        },
        "$defs": definitions,
    }


def documents() -> dict[Path, str]:
    """Return the text of each generated file, by its path from the repository's root."""
    schema = tree()
    return {
        Path("schema/stack.schema.json"): json.dumps(schema, indent=2, sort_keys=True) + "\n",
        Path("docs/stack-file.md"): reference.page(schema),
    }


def _describe(schema: dict[str, Any], model: type[Model]) -> None:
    """Add the docstring of each field to the field's schema, before its rule, and the example."""
    for key, docstring in _field_docstrings(model).items():
        field = schema["properties"][key]
        meaning, _, example = docstring.partition(EXAMPLE)
        field["description"] = "\n\n".join(filter(None, [" ".join(meaning.split()), field.get("description")]))
        if example:
            field["examples"] = [yaml.safe_load(example)]


def _field_docstrings(model: type[Model]) -> dict[str, str]:
    """Return the docstring of each field of a settings class and of its base classes."""
    found: dict[str, str] = {}
    for each in [base for base in reversed(model.__mro__) if issubclass(base, Model)]:
        (definition,) = ast.parse(dedent(inspect.getsource(each))).body
        for field, below in pairwise(definition.body if isinstance(definition, ast.ClassDef) else []):
            match field, below:
                case ast.AnnAssign(target=ast.Name(id=key)), ast.Expr(value=ast.Constant(value=str(text))):
                    found[key] = text
                case _:
                    pass
    return found


def _models(model: type[Model]) -> set[type[Model]]:
    """Return a settings class and all settings classes of its fields."""
    found, unseen = set[type[Model]](), [model]
    while unseen:
        if (each := unseen.pop()) not in found:
            found.add(each)
            unseen += [inner for field in each.model_fields.values() for inner in _models_in(field.annotation)]
    return found


def _models_in(annotation: object) -> list[type[Model]]:
    if isinstance(annotation, type) and issubclass(annotation, Model):
        return [annotation]
    return [inner for argument in get_args(annotation) for inner in _models_in(argument)]


def _secret(key: str) -> dict[str, Any]:
    rule = all_secrets()[key]
    return {
        "description": f"Encrypted value, written by `pulumi config set --secret {PREFIX}{key}`.\n\n"
        f"{rule.must[0].upper()}{rule.must[1:]}, because {rule.because}.",
        "type": "object",
        "required": ["secure"],
        "additionalProperties": False,
        "properties": {"secure": {"type": "string"}},
    }


def main(arguments: list[str]) -> int:
    """Return 1 when `--check` finds a file that is not up to date, else 0."""
    wanted = documents()
    if arguments != ["--check"]:
        for path, text in wanted.items():
            (ROOT / path).parent.mkdir(exist_ok=True)
            (ROOT / path).write_text(text)
        return 0
    stale = [path for path, text in wanted.items() if not (ROOT / path).exists() or (ROOT / path).read_text() != text]
    for path in stale:
        sys.stderr.write(f"{path} does not match infra/config/stack.py: run make schema and commit the result\n")
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
