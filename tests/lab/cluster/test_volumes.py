"""Volumes: the claims that get one, its content, and its deletion."""

from typing import Any

import pytest

from lab.cluster import volumes


def claim(**spec: object) -> dict[str, Any]:
    return {
        "metadata": {
            "namespace": "mlops-platform",
            "name": "data",
            "uid": "1234",
            "annotations": {"volume.kubernetes.io/selected-node": "lab-cpu"},
        },
        "spec": {
            "storageClassName": "lab",
            "accessModes": ["ReadWriteOnce"],
            "resources": {"requests": {"storage": "5Gi"}},
            **spec,
        },
    }


def test_a_claim_is_served_once_its_pod_has_a_node() -> None:
    waiting = claim()
    assert volumes.waits_for_volume(waiting)
    del waiting["metadata"]["annotations"]
    assert not volumes.waits_for_volume(waiting)


@pytest.mark.parametrize("spec", [{"storageClassName": "other"}, {"volumeName": "bound"}])
def test_a_claim_of_others_or_one_that_is_bound_is_left_alone(spec: dict[str, object]) -> None:
    assert not volumes.waits_for_volume(claim(**spec))


def test_the_volume_is_for_this_claim_and_this_node_alone() -> None:
    spec = volumes.volume_for(claim())["spec"]
    assert spec["claimRef"]["uid"] == "1234"
    assert spec["capacity"] == {"storage": "5Gi"}
    [term] = spec["nodeAffinity"]["required"]["nodeSelectorTerms"]
    assert term["matchExpressions"][0]["values"] == ["lab-cpu"]


def test_a_claim_has_one_volume_whose_name_and_folder_a_restart_finds_again() -> None:
    def names(uid: str, name: str) -> tuple[str, str]:
        asked = claim()
        asked["metadata"] |= {"uid": uid, "name": name}
        made = volumes.volume_for(asked)
        return made["metadata"]["name"], made["spec"]["local"]["path"]

    assert names("1234", "data") == ("pvc-1234", "/var/lib/volumes/pvc-1234"), "volumes of former labs stay in use"
    assert len({names("1234", "data"), names("5678", "data")}) == 2, "a claim made again gets an empty volume"


def test_a_volume_goes_only_once_it_is_released() -> None:
    made = volumes.volume_for(claim())
    assert not volumes.is_released(made)
    assert not volumes.is_released({**made, "status": {"phase": "Bound"}})
    assert volumes.is_released({**made, "status": {"phase": "Released"}})


def test_a_volume_that_is_to_be_kept_is_kept() -> None:
    made = volumes.volume_for(claim())
    made["spec"]["persistentVolumeReclaimPolicy"] = "Retain"
    assert not volumes.is_released({**made, "status": {"phase": "Released"}})
