"""What an update cannot change."""

from typing import Any

import pytest

from lab.providers.differences import differences, property_path
from lab.providers.kubernetes.api import ApiError
from lab.providers.kubernetes.replacement import must_replace, refused_as_immutable


def replaced(kind: str, old: dict[str, Any], new: dict[str, Any], *, mutable: str = "") -> set[str]:
    changes = differences(old, new)
    return {
        property_path(path) for path in must_replace(kind, old, new, changes, mutable_data=frozenset(mutable.split()))
    }


def at(path: str, value: Any, **more: Any) -> dict[str, Any]:
    *above, last = path.split(".")
    tree: dict[str, Any] = dict(more)
    here = tree
    for part in above:
        here = here.setdefault(part, {})
    here[last] = value
    return tree


AUTONAMED = {"metadata": {"name": "x-12345678", "annotations": {"pulumi.com/autonamed": "true"}}}


@pytest.mark.parametrize(
    ("kind", "path"),
    [
        ("Job", "spec.template.spec.restartPolicy"),
        ("Job", "spec.completions"),
        ("Deployment", "spec.selector.matchLabels.app"),
        ("StatefulSet", "spec.serviceName"),
        ("StatefulSet", "spec.volumeClaimTemplates"),
        ("DaemonSet", "spec.selector.matchLabels.app"),
        ("PersistentVolumeClaim", "spec.storageClassName"),
        ("Service", "spec.clusterIP"),
        ("StorageClass", "parameters.kind"),
        ("RoleBinding", "roleRef.name"),
        ("Secret", "type"),
        ("ConfigMap", "metadata.namespace"),
    ],
)
def test_immutable_fields_replace(kind: str, path: str) -> None:
    assert replaced(kind, at(path, "a"), at(path, "b")) == {path}


@pytest.mark.parametrize(
    ("kind", "path"),
    [
        ("Job", "spec.parallelism"),
        ("Deployment", "spec.template.spec.restartPolicy"),
        ("StatefulSet", "spec.replicas"),
        ("PersistentVolumeClaim", "spec.resources.requests.storage"),
        ("Service", "spec.type"),
        ("ConfigMap", "data.a"),
    ],
)
def test_other_fields_are_updated(kind: str, path: str) -> None:
    assert replaced(kind, at(path, "a"), at(path, "b")) == set()


@pytest.mark.parametrize(("kind", "path"), [("ConfigMap", "data.a"), ("Secret", "stringData.a")])
def test_new_data_replaces_what_is_auto_named_unless_the_provider_says_it_is_mutable(kind: str, path: str) -> None:
    old, new = at(path, "a", **AUTONAMED), at(path, "b", **AUTONAMED)
    assert replaced(kind, old, new) == {path}
    assert replaced(kind, old, new, mutable=kind) == set()


def test_new_data_replaces_what_says_itself_immutable() -> None:
    assert replaced("ConfigMap", at("data.a", "1", immutable=True), at("data.a", "2", immutable=True)) == {"data.a"}


def test_a_service_that_becomes_an_external_name_keeps_its_object() -> None:
    assert replaced("Service", {"spec": {"clusterIP": "10.0.0.1"}}, {"spec": {"type": "ExternalName"}}) == set()


def test_the_servers_refusal_is_told_from_other_errors() -> None:
    def refusal(message: str, code: int = 422) -> ApiError:
        return ApiError(code, {"message": "x", "details": {"causes": [{"field": "spec", "message": message}]}})

    assert refused_as_immutable(refusal("Invalid value: {}: field is immutable")) == ["spec"]
    assert refused_as_immutable(refusal("Forbidden: pod updates may not change fields other than ...")) == ["spec"]
    assert refused_as_immutable(refusal("Invalid value: -1: must be greater than or equal to 0")) == []
    assert refused_as_immutable(refusal("field is immutable", code=409)) == []
