"""Cache of models on a node, as pods use it."""

from collections.abc import Mapping
from functools import cache
from typing import Any

from tests.deployed import containers, deployed, local
from tests.recording import Recording

CACHE = {"model_cache": {"gib": 20}, "endpoints.churn-predictor.prediction_log": {}}


@cache
def cached() -> Recording:
    return deployed(CACHE)


def pod(recording: Recording) -> Mapping[str, Any]:
    return recording.one(":Deployment", "churn-predictor").spec["template"]["spec"]


def agent() -> Mapping[str, Any]:
    return cached().one(":DaemonSet", "model-cache").spec["template"]["spec"]


def mounts(container: Mapping[str, Any]) -> set[str]:
    return {mount["name"] for mount in container.get("volumeMounts", [])}


def test_who_does_not_ask_for_it_has_none_of_it() -> None:
    assert not local().all(":ModelCache")
    assert not [volume for volume in pod(local())["volumes"] if "persistentVolumeClaim" in volume]


def test_a_pod_has_the_folder_of_its_node_by_a_claim_which_the_restricted_level_allows() -> None:
    claim = cached().one(":PersistentVolumeClaim", "model-cache")
    volume = cached().one(":PersistentVolume", "model-cache")
    (mounted,) = [volume for volume in pod(cached())["volumes"] if "persistentVolumeClaim" in volume]
    assert mounted["persistentVolumeClaim"]["claimName"] == claim.metadata["name"]
    assert claim.metadata["namespace"] == volume.spec["claimRef"]["namespace"] == "ml-serving"
    assert claim.spec["volumeName"] == volume.metadata["name"]
    assert claim.metadata["name"] == volume.spec["claimRef"]["name"]
    assert not [volume for volume in pod(cached())["volumes"] if "hostPath" in volume]


def test_no_node_is_named_so_that_pods_run_on_any() -> None:
    assert "nodeAffinity" not in cached().one(":PersistentVolume", "model-cache").spec


def test_only_the_container_that_fetches_has_it() -> None:
    having = [container["name"] for container in containers(pod(cached())) if "model-cache" in mounts(container)]
    assert having == ["fetch"]


def test_the_folder_that_is_given_to_our_user_is_the_one_that_pods_have() -> None:
    (volume,) = agent()["volumes"]
    assert volume["hostPath"] == cached().one(":PersistentVolume", "model-cache").spec["hostPath"]
    (giving,) = agent()["initContainers"]
    user = pod(cached())["securityContext"]["runAsUser"]
    (mount,) = giving["volumeMounts"]
    assert giving["command"] == ["chown", f"{user}:{user}", mount["mountPath"]]


def test_root_may_give_the_folder_away_and_nothing_else_and_only_for_a_moment() -> None:
    (giving,) = agent()["initContainers"]
    assert giving["securityContext"]["capabilities"] == {"drop": ["ALL"], "add": ["CHOWN"]}
    assert giving["securityContext"]["readOnlyRootFilesystem"] is True
    (waiting,) = agent()["containers"]
    assert not mounts(waiting)
    assert "runAsUser" not in waiting["securityContext"]
    assert agent()["securityContext"]["runAsNonRoot"] is True


def test_more_or_less_of_it_changes_no_claim_since_a_claim_cannot_change() -> None:
    more = deployed({"model_cache": {"gib": 40}})
    for kind in (":PersistentVolume", ":PersistentVolumeClaim"):
        assert more.one(kind, "model-cache").spec == cached().one(kind, "model-cache").spec
