"""Drift: a live object seen as inputs."""

import base64
from typing import Any

import pytest

from lab.providers.kubernetes.inputs import drifted, imported, same_quantity


def test_what_the_server_adds_is_no_drift() -> None:
    inputs = {"spec": {"replicas": 2, "template": {"spec": {"containers": [{"name": "c", "image": "i"}]}}}}
    container = {"name": "c", "image": "i", "imagePullPolicy": "Always"}
    sidecar = {"name": "injected", "image": "s"}
    live = {"spec": {"replicas": 2, "template": {"spec": {"containers": [sidecar, container]}}}, "status": {"x": 1}}
    assert drifted(inputs, live) == inputs


def test_another_value_is_drift_and_what_is_gone_is_gone() -> None:
    inputs = {"spec": {"replicas": 2}, "metadata": {"labels": {"a": "1", "b": "2"}}}
    live = {"spec": {"replicas": 5}, "metadata": {"labels": {"a": "other", "mine": "3"}}}
    assert drifted(inputs, live) == {"spec": {"replicas": 5}, "metadata": {"labels": {"a": "other"}}}


def test_a_change_inside_a_list_is_found_by_name_whatever_the_order() -> None:
    inputs = {"env": [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}]}
    live = {"env": [{"name": "B", "value": "2"}, {"name": "A", "value": "9"}]}
    assert drifted(inputs, live) == {"env": [{"name": "A", "value": "9"}, {"name": "B", "value": "2"}]}


def test_ports_of_two_protocols_are_two() -> None:
    inputs = {"ports": [{"port": 53, "protocol": "UDP"}, {"port": 53}]}
    live = {"ports": [{"port": 53, "protocol": "UDP"}, {"port": 53, "protocol": "TCP", "targetPort": 53}]}
    assert drifted(inputs, live) == inputs


@pytest.mark.parametrize("nothing", [False, 0, "", [], {}, {"a": []}])
def test_what_is_empty_and_left_out_by_the_server_is_no_drift(nothing: Any) -> None:
    assert drifted({"a": nothing}, {}) == {"a": nothing}


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("0.5", "500m", True), ("1024Mi", "1Gi", True), (1, "1", True), ("1000m", "1", True), ("1e3", "1k", False),
        ("1Gi", "1G", False), ("100", "100m", False), ("abc", "abd", False), ("a", {}, False),
    ],
)  # fmt: skip
def test_amounts_are_compared_as_amounts(one: Any, other: Any, same: bool) -> None:
    assert same_quantity(one, other) is same
    inputs = {"limits": {"cpu": one}}
    assert (drifted(inputs, {"limits": {"cpu": other}}) == inputs) is same


def test_the_text_of_a_secret_is_compared_with_its_encoded_copy() -> None:
    inputs = {"kind": "Secret", "stringData": {"a": "x"}}
    same = {"kind": "Secret", "data": {"a": base64.b64encode(b"x").decode()}}
    other = {"kind": "Secret", "data": {"a": base64.b64encode(b"y").decode()}}
    assert drifted(inputs, same) == inputs
    assert drifted(inputs, other) == {"kind": "Secret", "stringData": {"a": "y"}}


def test_an_import_takes_all_but_what_the_server_alone_writes() -> None:
    live: dict[str, Any] = {
        "apiVersion": "v1", "kind": "ConfigMap", "data": {"a": "1"}, "status": {},
        "metadata": {
            "name": "x", "namespace": "n", "uid": "u", "resourceVersion": "1", "managedFields": [{}],
            "annotations": {"kubectl.kubernetes.io/last-applied-configuration": "{}"},
        },
    }  # fmt: skip
    metadata = {"name": "x", "namespace": "n"}
    assert imported(live) == {"apiVersion": "v1", "kind": "ConfigMap", "data": {"a": "1"}, "metadata": metadata}
