"""Writes the JSON Schema of every project's parameters: `python -m training.parameter_schema`.

With `--check`, it says if the file is stale. The program of the stack reads the file: it checks at preview what a stack
file gives the projects of the standard image.
"""

import json
import sys
from pathlib import Path

from training import project

FILE = Path(__file__).parent.parent / "schema" / "parameters.json"


def document() -> str:
    """Return the schemas by the project's name, as JSON."""
    schemas = {name: project.load(name).parameters.model_json_schema() for name in project.names()}
    return json.dumps(schemas, indent=2, sort_keys=True) + "\n"


def main(arguments: list[str]) -> int:
    """1 when `--check` finds the file stale, else 0."""
    wanted = document()
    if arguments != ["--check"]:
        FILE.parent.mkdir(exist_ok=True)
        FILE.write_text(wanted)
        return 0
    if FILE.exists() and FILE.read_text() == wanted:
        return 0
    sys.stderr.write(f"{FILE.name} is not what training/projects make it: run make schema and commit the result\n")
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
