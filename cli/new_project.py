"""Function behind `mlops new-project`: writes a model project for a table."""

import json as jsons
import re
from pathlib import Path

from cli.errors import CommandError
from contract.exit_codes import ExitCode
from training import new_project, projects
from training.data.reading import DataError, StoreError
from training.new_project import Choices
from training.project import ProjectError


def write(uri: str, name: str, choices: Choices, *, json: bool) -> None:
    """Write `training/projects/NAME.py` for the table, and print what was decided.

    Args:
        uri: address of the table.
        name: name of the project; empty for the name of the table's file.
        choices: decisions of the user.
        json: print the decisions as JSON.
    """
    name = (name or new_project.name_of(uri)).replace("-", "_")
    if not re.fullmatch(r"[a-z][a-z0-9_]{0,62}", name):
        raise CommandError(
            f"the project cannot have the name {name!r}, because it is the name of a Python file and of a model; give "
            "--name with up to 63 lower-case letters, digits and '_', a letter first"
        )
    file = Path(next(iter(projects.__path__))) / f"{name}.py"
    if file.exists():
        raise CommandError(f"{file} exists already; give another --name, or remove the file")
    try:
        found = new_project.draft(uri, name, choices)
    except (DataError, ProjectError) as error:
        raise CommandError(str(error)) from error
    except StoreError as error:
        raise CommandError(str(error), ExitCode.FAILED) from error
    file.write_text(new_project.source(found))
    if json:
        print(jsons.dumps({"project": name, "file": str(file), "decisions": [*found.decisions]}, indent=1))
        return
    print(f"{uri}: {found.rows} rows")
    for decision in found.decisions:
        print(decision)
    print(f"written: {file}")
    print(f"next: mlops train {name} --data {uri}, then make schema and git add {file}")
