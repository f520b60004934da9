"""Conditions in CEL that a pod is the pod of a declared template, for an admission policy.

A policy may also refer to the template as its parameter. But an API server whose last policy with such a parameter was
deleted never sees changes of the parameter again until it restarts (seen with Kubernetes 1.35), so the program writes
the template's values into the policy.
"""

import json
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

from pulumi_kubernetes.admissionregistration.v1 import ValidationArgsDict

Object = Mapping[str, object]
_text = partial(json.dumps, ensure_ascii=False)  # CEL has no escapes of surrogates
POD_KEYS = ("service_account_name", "priority_class_name", "node_name", "tolerations", "host_aliases", "dns_config")
"""Fields of a pod that decide its rights, its node and the names that it resolves."""
CONTAINER_KEYS = (
    "name", "image", "command", "args", "working_dir", "env", "env_from", "volume_mounts", "volume_devices",
    "lifecycle", "liveness_probe", "readiness_probe", "startup_probe", "restart_policy",
)  # fmt: skip
"""Fields of a container that decide what it runs and what it reads. Resources do not, and quotas limit them."""
PARTS = {"env": ("name", "value", "value_from"), "env_from": ("secret_ref", "config_map_ref", "prefix")}
VOLUME_KINDS = ("empty_dir", "secret", "config_map", "projected", "persistent_volume_claim", "host_path", "csi")


@dataclass(frozen=True, kw_only=True)
class Free:
    """Values of the main container that may differ from the template."""

    variables: Collection[str] = ()
    """Names of environment variables that may have any value, be absent, or be added, but not come from a Secret."""
    image: str = ""
    """Regular expression of the digest or tag of another image in the template's repository; empty: no other image."""
    arguments: Sequence[Sequence[str]] = ()
    """Alternatives to the template's arguments: a regular expression of each argument."""


EXACT = Free()
DIGEST = "@sha256:[0-9a-f]{64}"
"""Regular expression of a digest, with the character before it."""


def conditions(pod: Object, path: str, free: Free = EXACT) -> Iterator[tuple[str, str]]:
    """Yield names of parts and CEL expressions that are true if the pod spec at `path` has the declared values.

    Args:
        pod: declared pod spec, with keys in snake case.
        path: CEL expression of the pod spec to check.
        free: values that may differ.
    """
    for key in POD_KEYS:
        yield key.replace("_", " "), " && ".join(_field(path, key, pod.get(key)))
    yield "node selector", f"{path}.?nodeSelector.orValue({{}}) == {_text(pod.get('node_selector', {}))}"
    for kind in ("init_containers", "containers"):
        declared = cast("Sequence[Object]", pod.get(kind, ()))
        place = f"{path}.?{_camel(kind)}.orValue([])"
        yield kind, f"size({place}) == {len(declared)}"
        for number, container in enumerate(declared):
            for key in CONTAINER_KEYS:
                found = list(_allowed(f"{place}[{number}]", key, container, free if kind == "containers" else EXACT))
                either = " || ".join(f"({each})" for each in found) if len(found) > 1 else found[0]
                yield f"{container['name']}.{key}", either
    volumes = cast("Sequence[Object]", pod.get("volumes", ()))
    yield "volumes", f"size({path}.?volumes.orValue([])) == {len(volumes)}"
    for number, volume in enumerate(volumes):
        (kind,) = volume.keys() & set(VOLUME_KINDS)
        here = f"{path}.volumes[{number}]"
        found = [f"{here}.name == {_text(volume['name'])}", f"has({here}.{_camel(kind)})"]
        if kind != "empty_dir":
            found += _field(here, kind, volume[kind])
        yield f"volume {volume['name']}", " && ".join(found)


def _allowed(path: str, key: str, container: Object, free: Free) -> Iterator[str]:
    """Yield an expression for each value that a field of a container may have: the template's, or a free one."""
    if key == "env" and free.variables:
        yield " && ".join(_environment(f"{path}.?env.orValue([])", f"{path}.image", container, free.variables))
        return
    yield " && ".join(_field(path, key, container.get(key)))
    if key == "image" and free.image:
        repository = re.sub(r"(@.*|:[^/]*)$", "", str(container["image"]))
        yield f"{path}.image.matches({_text(f'^{re.escape(repository)}({free.image})$')})"
    for patterns in free.arguments if key == "args" else ():
        place = f"{path}.?args.orValue([])"
        each = (f"{place}[{at}].matches({_text(f'^({one})$')})" for at, one in enumerate(patterns))
        yield " && ".join((f"size({place}) == {len(patterns)}", *each))


def _environment(path: str, image: str, container: Object, free: Collection[str]) -> Iterator[str]:
    """Yield expressions that each variable has the declared value once, or is free and has a text as its value.

    `path` and `image` are the expressions of the container's variables and image.
    """
    fixed = [each for each in cast("Sequence[Object]", container.get("env", ())) if each["name"] not in free]
    for variable in fixed:
        name = _text(variable["name"])
        parts = [part for key in PARTS["env"][1:] for part in _field("e", key, variable.get(key))]
        yield f"{path}.filter(e, e.name == {name}).size() == 1"
        yield f"{path}.exists(e, e.name == {name} && {' && '.join(parts)})"
    if "IMAGE" in free:  # the version's tag `image` is this variable
        yield f"{path}.all(e, e.name != 'IMAGE' || e.?value.orValue('') == {image})"
    known = _text([each["name"] for each in fixed])
    yield f"{path}.all(e, e.name in {known} || (e.name in {_text(sorted(free))} && !has(e.valueFrom)))"


def _field(path: str, key: str, value: object) -> Iterator[str]:
    """Yield expressions that the field has the value; None: that it is absent or empty."""
    place = f"{path}.{_camel(key)}"
    if isinstance(value, Mapping):
        for name, inner in cast("Object", value).items():
            yield from _field(place, name, inner)
    elif isinstance(value, str):
        yield f"{path}.?{_camel(key)}.orValue({_text('')}) == {_text(value)}"
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
                yield f"{here} == {_text(entry)}"
    elif value is None:
        yield (
            f"!has({place})"
            if key not in {"command", "args", "env", "env_from"}
            else f"(!has({place}) || size({place}) == 0)"
        )
    else:
        yield f"{place} == {_text(value)}"


def job_validations(job: Mapping[str, Any], free: Free = EXACT) -> list[ValidationArgsDict]:
    """Return what a Job must have in common with the spec of a template's Jobs, which has keys in snake case."""
    template = job["template"]
    found: list[ValidationArgsDict] = [
        {"expression": expression, "message": f"the pod is not that of the template ({part}){_advice(part, free)}"}
        for part, expression in conditions(template["spec"], "object.spec.template.spec", free)
    ]
    labels = " && ".join(
        f"object.spec.template.metadata.labels[?{_text(key)}] == optional.of({_text(value)})"
        for key, value in template["metadata"]["labels"].items()
    )
    deadline, parallel = job["active_deadline_seconds"], job.get("parallelism", 1)
    return [
        *found,
        {"expression": labels, "message": "the labels of the pod are not those of the template"},
        {
            "expression": f"object.spec.?activeDeadlineSeconds == optional.of({deadline})",
            "message": "the deadline is not that of the template",
        },
        {
            "expression": f"object.spec.?parallelism.orValue(1) == {parallel}",
            "message": "the number of pods is not that of the template",
        },
    ]


def _advice(part: str, free: Free) -> str:
    return (
        "; push the image to the repository of the template's image" if part.endswith(".image") and free.image else ""
    )


def _camel(key: str) -> str:
    first, *others = key.split("_")
    return first + "".join(word.capitalize() for word in others)
