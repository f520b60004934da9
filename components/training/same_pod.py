"""Conditions in CEL that a pod is the pod of a declared template, for an admission policy.

A policy may also refer to the template as its parameter. But an API server whose last policy with such a parameter was
deleted never sees changes of the parameter again until it restarts (seen with Kubernetes 1.35), so the program writes
the template's values into the policy.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import cast

Object = Mapping[str, object]
CONTAINER_KEYS = (
    "name", "image", "command", "args", "working_dir", "env", "env_from", "volume_mounts", "volume_devices",
    "lifecycle", "liveness_probe", "readiness_probe", "startup_probe", "restart_policy",
)  # fmt: skip
"""Fields of a container that decide what it runs and what it reads. Resources do not, and quotas limit them."""
PARTS = {"env": ("name", "value", "value_from"), "env_from": ("secret_ref", "config_map_ref", "prefix")}
VOLUME_KINDS = ("empty_dir", "secret", "config_map", "projected", "persistent_volume_claim", "host_path", "csi")


def conditions(pod: Object, path: str) -> Iterator[tuple[str, str]]:
    """Yield names of parts and CEL expressions that are true if the pod spec at `path` has the declared values.

    Args:
        pod: declared pod spec, with keys in snake case.
        path: CEL expression of the pod spec to check.
    """
    yield "service account", " && ".join(_field(path, "service_account_name", pod["service_account_name"]))
    for kind in ("init_containers", "containers"):
        declared = cast("Sequence[Object]", pod.get(kind, ()))
        place = f"{path}.?{_camel(kind)}.orValue([])"
        yield kind, f"size({place}) == {len(declared)}"
        for number, container in enumerate(declared):
            for key in CONTAINER_KEYS:
                yield f"{container['name']}.{key}", " && ".join(_field(f"{place}[{number}]", key, container.get(key)))
    volumes = cast("Sequence[Object]", pod.get("volumes", ()))
    yield "volumes", f"size({path}.?volumes.orValue([])) == {len(volumes)}"
    for number, volume in enumerate(volumes):
        (kind,) = volume.keys() & set(VOLUME_KINDS)
        here = f"{path}.volumes[{number}]"
        found = [f"{here}.name == {json.dumps(volume['name'])}", f"has({here}.{_camel(kind)})"]
        if kind != "empty_dir":
            found += _field(here, kind, volume[kind])
        yield f"volume {volume['name']}", " && ".join(found)


def _field(path: str, key: str, value: object) -> Iterator[str]:
    """Yield expressions that the field has the value; None: that it is absent or empty."""
    place = f"{path}.{_camel(key)}"
    if isinstance(value, Mapping):
        for name, inner in cast("Object", value).items():
            yield from _field(place, name, inner)
    elif isinstance(value, str):
        yield f"{path}.?{_camel(key)}.orValue({json.dumps('')}) == {json.dumps(value)}"
    elif isinstance(value, Sequence):
        entries = cast("Sequence[object]", value)
        yield f"size({path}.?{_camel(key)}.orValue([])) == {len(entries)}"
        for number, entry in enumerate(entries):
            here = f"{place}[{number}]"
            if isinstance(entry, Mapping):
                found = cast("Object", entry)
                for name in PARTS.get(key, found):
                    yield from _field(here, name, found.get(name))
            else:
                yield f"{here} == {json.dumps(entry)}"
    elif value is None:
        yield (
            f"!has({place})"
            if key not in {"command", "args", "env", "env_from"}
            else f"(!has({place}) || size({place}) == 0)"
        )
    else:
        yield f"{place} == {json.dumps(value)}"


def _camel(key: str) -> str:
    first, *others = key.split("_")
    return first + "".join(word.capitalize() for word in others)
