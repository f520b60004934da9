"""What a program gets back."""

from typing import Any

from lab.providers.kubernetes.outputs import hidden, outputs, preview_of_create, preview_of_update
from lab.providers.values import UNKNOWN, Secret


def test_a_secret_is_secret_in_every_copy() -> None:
    copy = "kubectl.kubernetes.io/last-applied-configuration"
    live = {
        "kind": "Secret",
        "data": {"a": "eA=="},
        "metadata": {"name": "s", "annotations": {copy: "{eA==}", "b": "c"}},
    }
    tree = outputs(live, {"stringData": Secret({"a": "x"})}, manager="m")
    assert tree["data"] == Secret({"a": "eA=="})
    assert tree["metadata"]["annotations"] == {copy: Secret("{eA==}"), "b": "c"}
    assert hidden({"kind": "ConfigMap", "data": {"a": "1"}}) == {"kind": "ConfigMap", "data": {"a": "1"}}


def test_a_secret_input_of_another_kind_stays_secret() -> None:
    live = {"kind": "ConfigMap", "data": {"a": "x", "b": "y"}, "metadata": {"name": "c"}}
    assert outputs(live, {"data": {"a": Secret("x"), "b": "y"}}, manager="m")["data"] == {"a": Secret("x"), "b": "y"}


def test_field_bookkeeping_is_left_out_and_the_field_manager_kept() -> None:
    tree = outputs({"kind": "X", "metadata": {"name": "x", "managedFields": [{}]}}, {}, manager="m")
    assert (tree["metadata"], tree["__fieldManager"]) == ({"name": "x"}, "m")


def service(**spec: Any) -> dict[str, Any]:
    metadata = {"name": "s", "uid": "made up", "resourceVersion": "1", "creationTimestamp": "now"}
    return {"kind": "Service", "metadata": metadata, "spec": spec, "status": {"loadBalancer": {}}}


def test_a_preview_claims_nothing_that_the_server_only_makes_up() -> None:
    answer = service(clusterIP="10.0.0.9", clusterIPs=["10.0.0.9"], type="ClusterIP")
    tree = preview_of_create(answer, {"metadata": {"name": "s"}, "spec": {}})
    assert "status" not in tree  # absent is unknown to the SDK
    assert (tree["metadata"]["uid"], tree["metadata"]["name"]) == (UNKNOWN, "s")
    assert (tree["spec"]["clusterIP"], tree["spec"]["type"]) == (UNKNOWN, "ClusterIP")
    assert answer["spec"]["clusterIP"] == "10.0.0.9"


def test_a_preview_keeps_what_the_program_asked_for() -> None:
    tree = preview_of_create(service(clusterIP="None"), {"spec": {"clusterIP": "None"}})
    assert tree["spec"]["clusterIP"] == "None"


def test_node_ports_are_unknown_unless_asked_for() -> None:
    ports = [{"port": 80, "nodePort": 30080}, {"port": 81, "nodePort": 30999}]
    asked = {"spec": {"ports": [{"port": 80, "nodePort": 30080}, {"port": 81}]}}
    tree = preview_of_create(service(type="NodePort", ports=ports), asked)
    assert [port["nodePort"] for port in tree["spec"]["ports"]] == [30080, UNKNOWN]


def test_the_name_of_an_auto_named_object_is_unknown_before_it_is_made() -> None:
    inputs = {"metadata": {"name": "x-12345678", "annotations": {"pulumi.com/autonamed": "true"}}}
    assert preview_of_create({"kind": "ConfigMap", **inputs}, inputs)["metadata"]["name"] is UNKNOWN


def test_an_update_keeps_identity_and_address() -> None:
    tree = preview_of_update(service(clusterIP="10.0.0.9"))
    assert (tree["metadata"]["uid"], tree["spec"]["clusterIP"]) == ("made up", "10.0.0.9")
    assert tree["metadata"]["resourceVersion"] is UNKNOWN
