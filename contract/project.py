"""Files of a Pulumi project on this machine: Pulumi.yaml, and a stack file for each stack."""

from pathlib import Path


def root(folder: Path) -> Path | None:
    """Return the folder, or the nearest one above it, that has a Pulumi.yaml; None if there is none."""
    return next((each for each in (folder, *folder.parents) if (each / "Pulumi.yaml").is_file()), None)


def stack_file(project: Path, stack: str) -> Path:
    """Return the path of a stack's file, which need not exist. The stack's organization and project do not count."""
    return project / f"Pulumi.{stack.rpartition('/')[2]}.yaml"


def stacks(project: Path) -> str:
    """Return the names of the stacks that have a file, separated by commas; `none` if there is no stack file."""
    return ", ".join(sorted(file.name.split(".")[1] for file in project.glob("Pulumi.*.yaml"))) or "none"
