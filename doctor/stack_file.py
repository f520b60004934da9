"""Settings of a stack, read from its file without Pulumi's engine."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import yaml
from pydantic import ValidationError

from contract import project
from contract.untyped import mapping
from infra.config import image_rules, problems
from infra.config.monitoring import ClusterMonitoring
from infra.config.problems import PREFIX
from infra.config.stack import Settings, all_secrets, parse, secrets_of

REGION = "aws:region"


class StackFileError(Exception):
    """The stack file is missing or wrong. The message has one line for each problem."""


@dataclass(frozen=True, kw_only=True)
class Stack:
    """A stack, as its file describes it."""

    name: str
    """Name of the stack, without organization and project."""
    project: str
    """Name of the Pulumi project."""
    file: Path
    """Path of the stack file."""
    settings: Settings
    """Settings in the file."""
    region: str | None
    """AWS region in the file; None if the file names none."""
    missing_secrets: tuple[str, ...]
    """Keys of the secrets that the file lacks, without `mlops:`."""

    @property
    def full_name(self) -> str:
        """Prefix of the names of AWS resources, and the name of a new cluster."""
        return f"{self.project}-{self.name}"

    @property
    def images(self) -> dict[str, str]:
        """Images that the stack file names, by their keys. `image: auto` of a version is not among them."""
        own = self.settings.images
        keys = ("tracking", "training", "serving", "envoy")
        found = {f"mlops:images.{key}": image for key in keys if (image := getattr(own, key))}
        if isinstance(chosen := self.settings.monitoring, ClusterMonitoring):
            found |= {f"mlops:monitoring.images.{key}": image for key, image in chosen.images.model_dump().items()}
        settings = self.settings
        named = {
            **{f"mlops:training.{name}.image": job.image for name, job in settings.training.items()},
            **{
                f"mlops:training.{name}.validation.image": image_rules.own(job.validation.image)
                for name, job in settings.training.items()
            },
            **{f"mlops:endpoints.{name}.image": image_rules.own(one.image) for name, one in settings.endpoints.items()},
            **{f"mlops:batch.{name}.image": image_rules.own(one.image) for name, one in settings.batch.items()},
        }
        return found | {key: image for key, image in named.items() if image}

    def set_command(self, path: str, value: object, *, text: bool = False) -> str:
        """Return the command that writes a value into the stack file, at a path below `mlops:`."""
        kind = "--type string " if text else ""
        return f"run pulumi config set --stack {self.name} {kind}--path '{PREFIX}{path}' {value}"


def read(name: str, folder: Path) -> Stack:
    """Return the stack of this name in the Pulumi project of a folder.

    Raises:
        StackFileError: there is no such project or file, or the file is wrong.
    """
    root = project.root(folder)
    if root is None:
        raise StackFileError(f"there is no Pulumi.yaml in {folder} or above it; run the command in the repository")
    file = project.stack_file(root, name)
    if not file.is_file():
        raise StackFileError(f"there is no {file.name} in {root}; stacks with a file: {project.stacks(root)}")
    config = mapping(_load(file).get("config"))
    own = {key.removeprefix(PREFIX): value for key, value in config.items() if key.startswith(PREFIX)}
    secrets = secrets_of(own)
    try:
        settings = parse({key: value for key, value in own.items() if key not in all_secrets()})
    except ValidationError as error:
        lines = [problem.line(file.name) for problem in problems.of(error, Settings)]
        raise StackFileError("\n".join(lines)) from None
    region = config.get(REGION)
    return Stack(
        name=file.name.split(".")[1],
        project=str(_load(root / "Pulumi.yaml").get("name")),
        file=file,
        settings=settings,
        region=str(region) if region else None,
        missing_secrets=tuple(key for key in secrets if key not in own),
    )


def _load(file: Path) -> Mapping[str, object]:
    try:
        return mapping(yaml.safe_load(file.read_text(encoding="utf-8")))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise StackFileError(f"{file} cannot be read: {' '.join(str(error).split())}") from error
