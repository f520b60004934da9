"""Changes to an AWS stack that no update can make in place: refused, or announced by name before anything happens.

The stack's own output `foundation` says on what the last update stood.
"""

import fnmatch
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, cast

import pulumi
from pulumi.runtime import invoke

from infra.config.aws import AwsFoundation, ManagedNodePool
from infra.config.problems import PREFIX, Problem, refusal
from infra.config.rules import Rule

OUTPUT = "foundation"
MANAGED_POOL = "node_pools."
ABSENT = "absent"
Facts = Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class Consequence:
    """The effect of a change that `applies`: impossible with a `never`, else possible once the `protection` is lifted.

    A path may end in `*`.
    """

    paths: tuple[str, ...]
    does: str
    """Completes the sentence "this update ..."."""
    protection: tuple[str, ...] = ()
    applies: Callable[[str, str], bool] = str.__ne__
    never: str = ""


def _version(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(".") if part.isdigit())


def _lower(old: str, new: str) -> bool:
    return ABSENT not in {old, new} and _version(new) < _version(old)


def _skips(old: str, new: str) -> bool:
    return ABSENT not in {old, new} and abs(_version(new)[-1] - _version(old)[-1]) > 1


def _moved(old: str, new: str) -> bool:
    """Whether the same pool, as it was, is not there any more."""
    return ABSENT not in {old, new} and old != new


CONSEQUENCES = (
    Consequence(
        paths=("account_id",),
        does="replaces everything",
        never="the state of the stack is about the old account, where everything would stay, unseen and paid for",
    ),
    Consequence(
        paths=("region",),
        does="replaces everything",
        never="nothing moves between regions, and the data stays in the old one",
    ),
    Consequence(
        paths=("network.kind", "network.cidr", "network.vpc_id"),
        does="replaces the VPC, and with it the cluster and the database",
        never="AWS moves no cluster and no database to another VPC",
    ),
    Consequence(
        paths=("cluster.service_cidr",),
        does="replaces the cluster, with everything that runs in it",
        never="EKS hands out addresses of Services from the block that the cluster was made with",
    ),
    Consequence(
        paths=("network.availability_zones",),
        does="replaces the subnets of a zone, with what runs there",
        protection=("cluster.protected", "database.protected"),
        applies=_lower,
    ),
    Consequence(
        paths=("cluster.kind", "cluster.name"),
        does="replaces the cluster, with everything that runs in it",
        protection=("cluster.protected",),
    ),
    Consequence(
        paths=("cluster.kubernetes_version",),
        does="replaces the cluster",
        applies=_skips,
        never="EKS goes one minor version at a time, and back to the version before alone",
    ),
    Consequence(
        paths=("cluster.kubernetes_version",),
        does="takes Kubernetes back, which EKS refuses later than 7 days after the upgrade (docs/aws.md says how)",
        applies=_lower,
    ),
    Consequence(
        paths=(f"{MANAGED_POOL}*",),
        does="replaces the node group: new nodes come first, then pods move to them",
        applies=_moved,
    ),
    Consequence(
        paths=("artifacts.bucket",),
        does="replaces the bucket: datasets and models stay behind in the old one",
        protection=("artifacts.protected",),
    ),
    Consequence(
        paths=("database.engine_version",),
        does="replaces the database",
        applies=_lower,
        never="Postgres has no way back to an older major version",
    ),
    Consequence(
        paths=("database.engine_version",),
        does="replaces the parameter group, and upgrades the database in place, which is gone for minutes",
        protection=("database.protected",),
    ),
    Consequence(
        paths=("database.storage_gib",),
        does="replaces the database",
        applies=_lower,
        never="RDS storage does not shrink",
    ),
    Consequence(
        paths=("database.restore_from",),
        does="replaces the database by what was in the snapshot",
        protection=("database.protected",),
    ),
)
"""The first that applies to a path decides."""


def facts(region: str, chosen: AwsFoundation) -> Facts:
    """What the consequences are about, as the stack file has it; exported, and read again by the next update."""
    tree = chosen.model_dump(mode="json")
    paths = {path for each in CONSEQUENCES for path in (*each.paths, *each.protection) if "*" not in path}
    found = {path: _at(tree, path) for path in sorted(paths - {"region"})}
    return {
        "region": region,
        **{path: ABSENT if value is None else str(value) for path, value in found.items()},
        **{
            f"{MANAGED_POOL}{name}": " ".join((*pool.instance_types, pool.capacity, pool.architecture))
            for name, pool in chosen.node_pools.items()
            if isinstance(pool, ManagedNodePool)
        },
    }


def _at(tree: Mapping[str, Any], path: str) -> object:
    section, _, key = path.partition(".")
    return tree[section].get(key) if key else tree[section]


def announce(new: Facts) -> None:
    """Warns of what this update will replace. pulumi.RunError with every change that cannot be made as it stands."""
    old = _last()
    changed = list(consequences(old, new))
    if refused := [problem for path, each in changed if (problem := refuse(path, each, old, new))]:
        raise refusal(refused)
    for path, each in changed:
        pulumi.log.warn(f"{PREFIX}{_key(path)} is {new[path]}, was {old[path]}: this update {each.does}")


def consequences(old: Facts, new: Facts) -> Iterator[tuple[str, Consequence]]:
    """What changed between two updates that matters, by path."""
    decided = set[str]()
    for each in CONSEQUENCES:
        for path in (path for pattern in each.paths for path in fnmatch.filter(old, pattern)):
            if path not in decided and each.applies(old[path], new.get(path, ABSENT)):
                decided.add(path)
                yield path, each


def refuse(path: str, each: Consequence, old: Facts, new: Facts) -> Problem | None:
    """Why it cannot be done; None where it can."""
    found = f"is {new[path]}, was {old[path]}"
    if each.never:
        rule = Rule(
            must=f"must not go from {old[path]} to {new[path]}",
            because=each.never,
            instead=_way_out(path, each, old, new),
        )
        return Problem(path=_key(path), found=found, rule=rule)
    # What the last update protected stays so until an update has lifted it.
    held = [flag for flag in each.protection if "True" in {old.get(flag), new[flag]}]
    if not held:
        return None
    lifted = " and ".join(f"{PREFIX}foundation.{flag}" for flag in held)
    commands = "; ".join(f"pulumi config set --path '{PREFIX}foundation.{flag}' false" for flag in held)
    rule = Rule(
        must=f"must stay {old[path]} as long as {lifted} {'is' if len(held) == 1 else 'are'} true",
        because=f"the change {each.does}",
        instead=f"put it back, or save the data, run {commands}; pulumi up, and change it then",
    )
    return Problem(path=_key(path), found=found, rule=rule)


def _way_out(path: str, each: Consequence, old: Facts, new: Facts) -> str:
    if each.applies is _skips and not _lower(old[path], new[path]):
        major, minor = _version(old[path])
        return f'write "{major}.{minor + 1}" first'
    return f"put {old[path]} back; to go there all the same, make another stack and restore the data into it"


def _key(path: str) -> str:
    return path if path == "region" else f"foundation.{path}"


def _last() -> Facts:
    """Of a stack that was never deployed: nothing."""
    name = f"{pulumi.get_organization()}/{pulumi.get_project()}/{pulumi.get_stack()}"
    read = cast("Mapping[str, Mapping[str, Facts]]", invoke("pulumi:pulumi:readStackOutputs", {"name": name}).value)
    return read.get("outputs", {}).get(OUTPUT, {})
