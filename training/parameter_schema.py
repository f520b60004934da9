"""Writes the JSON Schema of every project's parameters: `python -m training.parameter_schema`.

With `--check`, it only reports whether the file is stale. The Pulumi program reads the file at preview, to check the
parameters that a stack file gives to the projects of the standard image.
"""

import json
import sys
from pathlib import Path
from typing import Any

from training import project

FILE = Path(__file__).parent.parent / "schema" / "parameters.json"


def document() -> str:
    """Return the schemas of all projects as one JSON object, by project name.

    `task` is left out if it is binary, and `metrics`, the side on which each own metric is better, if there are none.
    """
    schemas = {name: _schema(project.load(name)) for name in project.names()}
    return json.dumps(schemas, indent=2, sort_keys=True) + "\n"


def _schema(one: project.Project[Any]) -> dict[str, Any]:
    task = {} if one.task == "binary" else {"task": one.task}
    metrics = {name: metric.better for name, metric in one.metrics.items()}
    return one.parameters.model_json_schema() | task | ({"metrics": metrics} if metrics else {})


def main(arguments: list[str]) -> int:
    """Write or check the file. Return 1 if `--check` finds it stale, else 0."""
    expected = document()
    if arguments != ["--check"]:
        FILE.parent.mkdir(exist_ok=True)
        FILE.write_text(expected)
        return 0
    if FILE.exists() and FILE.read_text() == expected:
        return 0
    sys.stderr.write(
        f"{FILE.name} does not match the parameters in training/projects; run `make schema` and commit the result\n"
    )
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
