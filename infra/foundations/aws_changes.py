"""Changes to an AWS stack that replace resources or are impossible: announced or refused before the update begins.

The stack's output `foundation` has the values of the last update.
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
"""Name of the stack's output with the facts of the last update."""
MANAGED_POOL = "node_pools."
ABSENT = "absent"
"""Fact for a key without a value, or for a node pool that does not exist."""
Facts = Mapping[str, str]
"""Values of the stack file as text, by path below `foundation`, and the region."""


@dataclass(frozen=True, kw_only=True)
class Consequence:
    """Effect of a change to certain keys of the foundation."""

    paths: tuple[str, ...]
    """Paths of the keys; the last part may be `*`."""
    does: str
    """Effect, which completes the sentence "this update ..."."""
    protection: tuple[str, ...] = ()
    """Paths of the flags that refuse the change while one of them is true."""
    applies: Callable[[str, str], bool] = str.__ne__
    """Function that returns whether a change from an old to a new value has this effect."""
    never: str = ""
    """Reason why the change is impossible; empty if it is possible."""
    instead: str = ""
    """Advice in the error message of an impossible change; empty for the general advice. Default: empty."""


def _version(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(".") if part.isdigit())


def _lower(old: str, new: str) -> bool:
    """Return whether the new version or number is lower than the old one."""
    return ABSENT not in {old, new} and _version(new) < _version(old)


def _skips(old: str, new: str) -> bool:
    """Return whether the change skips a minor version, up or down."""
    return ABSENT not in {old, new} and abs(_version(new)[-1] - _version(old)[-1]) > 1


def _replaced(old: str, new: str) -> bool:
    """Return whether both values exist and differ."""
    return ABSENT not in {old, new} and old != new


def _at_once(old: str, new: str) -> bool:
    """Return whether load balancers would leave the subnets of the pods in the update that closes these subnets."""
    return (old, new) in {("shared", "own"), ("own", "shared")}


CONSEQUENCES = (
    Consequence(
        paths=("account_id",),
        does="replaces everything",
        never="the stack's state describes the old account, where all resources would remain and cost money",
    ),
    Consequence(
        paths=("region",),
        does="replaces everything",
        never="AWS cannot move resources between regions, and the data would stay in the old one",
    ),
    Consequence(
        paths=("network.kind", "network.cidr", "network.vpc_id"),
        does="replaces the VPC, and with it the cluster and the database",
        never="AWS cannot move a cluster or a database to another VPC",
    ),
    Consequence(
        paths=("network.load_balancers",),
        does="moves load balancers to other subnets and closes the pods to the former ones",
        applies=_at_once,
        never="a load balancer sends requests from its former subnets until AWS has moved it, and pods would refuse "
        "them",
        instead="write load_balancers: moving, run pulumi up, and write this value five minutes later",
    ),
    Consequence(
        paths=("cluster.service_cidr",),
        does="replaces the cluster, with everything that runs in it",
        never="the block of a cluster's Service addresses is fixed when EKS creates the cluster",
    ),
    Consequence(
        paths=("network.availability_zones",),
        does="replaces the subnets of a zone, with everything that runs there",
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
        never="EKS upgrades by one minor version at a time, and downgrades only to the version before",
    ),
    Consequence(
        paths=("cluster.kubernetes_version",),
        does="downgrades Kubernetes, which EKS refuses later than 7 days after the upgrade (docs/aws.md says how)",
        applies=_lower,
    ),
    Consequence(
        paths=(f"{MANAGED_POOL}*",),
        does="replaces the node group: new nodes start first, then pods move to them",
        applies=_replaced,
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
        never="Postgres cannot go back to an older major version",
    ),
    Consequence(
        paths=("database.engine_version",),
        does="replaces the parameter group and upgrades the database in place, which is down for some minutes",
        protection=("database.protected",),
    ),
    Consequence(
        paths=("database.storage_gib",),
        does="replaces the database",
        applies=_lower,
        never="RDS cannot reduce the storage of a database",
    ),
    Consequence(
        paths=("database.restore_from",),
        does="replaces the database with the content of the snapshot",
        protection=("database.protected",),
    ),
)
"""Consequences in order: the first that applies to a path decides."""


def facts(region: str, chosen: AwsFoundation) -> Facts:
    """Return the stack file's values that the consequences depend on; exported for the next update to compare."""
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
    """Log a warning for each change that replaces something.

    Raises:
        pulumi.RunError: a change is impossible or protected; the message lists all such changes.
    """
    old = _last_facts()
    changed = list(consequences(old, new))
    if refused := [problem for path, each in changed if (problem := refuse(path, each, old, new))]:
        raise refusal(refused)
    for path, each in changed:
        pulumi.log.warn(f"{PREFIX}{_key(path)} is {new[path]}, was {old[path]}: this update {each.does}")


def consequences(old: Facts, new: Facts) -> Iterator[tuple[str, Consequence]]:
    """Yield the path and the consequence of each change between two updates."""
    decided = set[str]()
    for each in CONSEQUENCES:
        for path in (path for pattern in each.paths for path in fnmatch.filter(old, pattern)):
            if path not in decided and each.applies(old[path], new.get(path, ABSENT)):
                decided.add(path)
                yield path, each


def refuse(path: str, each: Consequence, old: Facts, new: Facts) -> Problem | None:
    """Return the problem of a change that is impossible or protected; None for any other change."""
    found = f"is {new[path]}, was {old[path]}"
    if each.never:
        rule = Rule(
            must=f"must not go from {old[path]} to {new[path]}",
            because=each.never,
            instead=each.instead or _alternative(path, each, old, new),
        )
        return Problem(path=_key(path), found=found, rule=rule)
    # A flag that was true at the last update counts until an update has set it to false.
    held = [flag for flag in each.protection if "True" in {old.get(flag), new[flag]}]
    if not held:
        return None
    lifted = " and ".join(f"{PREFIX}foundation.{flag}" for flag in held)
    commands = "; ".join(f"pulumi config set --path '{PREFIX}foundation.{flag}' false" for flag in held)
    rule = Rule(
        must=f"must stay {old[path]} as long as {lifted} {'is' if len(held) == 1 else 'are'} true",
        because=f"the change {each.does}",
        instead=f"write the old value again; or save the data, run {commands}; pulumi up, and change it afterwards",
    )
    return Problem(path=_key(path), found=found, rule=rule)


def _alternative(path: str, each: Consequence, old: Facts, new: Facts) -> str:
    if each.applies is _skips and not _lower(old[path], new[path]):
        major, minor = _version(old[path])
        return f'write "{major}.{minor + 1}" first'
    return f"write {old[path]} again; if you need the change, create another stack and restore the data into it"


def _key(path: str) -> str:
    return path if path == "region" else f"foundation.{path}"


def _last_facts() -> Facts:
    """Return the facts of the last update; empty for a stack that was never deployed."""
    name = f"{pulumi.get_organization()}/{pulumi.get_project()}/{pulumi.get_stack()}"
    read = cast("Mapping[str, Mapping[str, Facts]]", invoke("pulumi:pulumi:readStackOutputs", {"name": name}).value)
    found = read.get("outputs", {}).get(OUTPUT, {})
    # Updates by older programs, which had no such key, did not record it.
    return {"network.load_balancers": "shared", **found} if found else found
