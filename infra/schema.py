"""Writes the JSON Schema of the stack files for editors: `python -m infra.schema`; with `--check`, says if it is stale.

A stack file names it in its first line: `# yaml-language-server: $schema=schema/stack.schema.json`.
"""

import json
import sys
from pathlib import Path
from typing import Any

from infra.problems import PREFIX
from infra.settings import KINDS, Settings

FILE = Path(__file__).parent.parent / "schema" / "stack.schema.json"


def document() -> str:
    """The schema of `Pulumi.<stack>.yaml`, made from the settings alone: it changes only when they do."""
    tree = Settings.model_json_schema()
    definitions: dict[str, Any] = tree.pop("$defs")
    secrets = sorted({key for kind in KINDS.values() for key in kind.secrets})
    properties = {
        **{PREFIX + key: value for key, value in tree["properties"].items()},
        **{PREFIX + key: _secret(key) for key in secrets},
    }
    schema = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Pulumi stack file of this program",
        "type": "object",
        "required": ["config"],
        "properties": {
            "config": {
                "type": "object",
                "required": [PREFIX + key for key in tree["required"]],
                "properties": properties,
                # A key of ours that is none of the above; keys of providers, as in aws:region, are not ours.
                "patternProperties": {f"^{PREFIX}(?!({'|'.join(sorted(Settings.model_fields) + secrets)})$)": False},
            }
        },
        "$defs": definitions,
    }
    return json.dumps(schema, indent=2, sort_keys=True) + "\n"


def _secret(key: str) -> dict[str, Any]:
    return {
        "description": f"Encrypted: pulumi config set --secret {PREFIX}{key}",
        "type": "object",
        "required": ["secure"],
        "additionalProperties": False,
        "properties": {"secure": {"type": "string"}},
    }


def main(arguments: list[str]) -> int:
    """1 when `--check` finds the file stale, else 0."""
    wanted = document()
    if arguments != ["--check"]:
        FILE.parent.mkdir(exist_ok=True)
        FILE.write_text(wanted)
        return 0
    if FILE.exists() and FILE.read_text() == wanted:
        return 0
    sys.stderr.write(f"{FILE.name} is not what infra/settings.py makes it: run make schema and commit the result\n")
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
