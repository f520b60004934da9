"""When an object is ready, and what is said when it is not."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from typing_extensions import override

from lab.providers.kubernetes import readiness
from lab.providers.kubernetes.pods import Look
from lab.providers.kubernetes.readiness import Progress, check_of, explain

Objects = dict[str, list[dict[str, Any]]]


@dataclass
class Cluster(Look):
    """Answers from lists."""

    objects: Objects = field(default_factory=dict[str, list[dict[str, Any]]])
    logs: dict[str, str] = field(default_factory=dict[str, str])

    @override
    def get(self, api_version: str, kind: str, namespace: str | None, name: str) -> dict[str, Any] | None:
        return next((each for each in self.objects.get(kind, []) if each["metadata"]["name"] == name), None)

    @override
    def find(
        self, api_version: str, kind: str, namespace: str | None, *, labels: str = "", fields: str = ""
    ) -> list[dict[str, Any]]:
        return self.objects.get(kind, [])

    @override
    def log(self, namespace: str | None, pod: str, container: str, *, previous: bool) -> str:
        return self.logs.get(f"{pod}/{container}/{'before' if previous else 'now'}", "")


def deployment(*, generation: int = 2, conditions: list[dict[str, Any]] | None = None, **status: int) -> dict[str, Any]:
    return {
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": "web", "namespace": "n", "uid": "d", "generation": 2,
                     "annotations": {"deployment.kubernetes.io/revision": "2"}},
        "spec": {"replicas": 2, "progressDeadlineSeconds": 60, "selector": {"matchLabels": {"app": "web"}}},
        "status": {"observedGeneration": generation, "conditions": conditions or [], **status},
    }  # fmt: skip


def pod(
    name: str, *, owner: str = "new", conditions: list[dict[str, Any]] | None = None, **status: Any
) -> dict[str, Any]:
    metadata = {"name": name, "namespace": "n", "uid": name, "ownerReferences": [{"uid": owner}]}
    return {"metadata": metadata, "status": {"conditions": conditions or [], **status}}


def container(name: str = "c", **state: Any) -> dict[str, Any]:
    return {"name": name, "image": "lab.local/x:1", "ready": False, "restartCount": 0, **state}


def replica_sets() -> list[dict[str, Any]]:
    revision = "deployment.kubernetes.io/revision"
    return [
        {"metadata": {"name": uid, "uid": uid, "annotations": {revision: number}, "ownerReferences": [{"uid": "d"}]}}
        for uid, number in (("old", "1"), ("new", "2"))
    ]


READY = Progress()


@pytest.mark.parametrize(
    ("live", "progress"),
    [
        (deployment(replicas=2, updatedReplicas=2, availableReplicas=2), READY),
        (deployment(generation=1, replicas=2, updatedReplicas=2, availableReplicas=2), "its controller"),
        (
            deployment(replicas=3, updatedReplicas=2, availableReplicas=3),
            "2 of 2 Pods updated, 3 available, 1 old to go",
        ),
        (deployment(replicas=2, updatedReplicas=2, availableReplicas=1), "2 of 2 Pods updated, 1 available"),
    ],
)
def test_a_deployment_is_ready_when_all_is_new_and_nothing_old_is_left(live: dict[str, Any], progress: Any) -> None:
    found = readiness.deployment(live, Cluster())
    assert found == READY if progress is READY else progress in found.waits_for


def test_a_deployment_fails_at_its_own_deadline() -> None:
    late = deployment(conditions=[{"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded"}])
    assert "no progress for 60 s (progressDeadlineSeconds)" in readiness.deployment(late, Cluster()).failure


def test_the_next_good_change_is_not_blamed_for_the_deadline_that_the_last_one_missed() -> None:
    condition = {"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded"}
    cluster = Cluster({"ReplicaSet": replica_sets()})
    for name, failed in (("new", True), ("old", False)):
        late = deployment(conditions=[{**condition, "message": f'ReplicaSet "{name}" has timed out progressing.'}])
        assert bool(readiness.deployment(late, cluster).failure) is failed


@pytest.mark.parametrize(("since", "final"), [("2020-01-01T00:00:00Z", True), ("2999-01-01T00:00:00Z", False)])
def test_a_quota_that_stays_exceeded_is_a_failure(since: str, final: bool) -> None:
    condition = {
        "type": "ReplicaFailure",
        "status": "True",
        "message": "exceeded quota: q",
        "lastTransitionTime": since,
    }
    found = readiness.deployment(deployment(conditions=[condition]), Cluster())
    assert bool(found.failure) is final
    assert "exceeded quota: q" in found.failure + found.waits_for


def live(kind: str, spec: dict[str, Any] | None = None, **status: Any) -> dict[str, Any]:
    return {"kind": kind, "metadata": {"name": "x", "namespace": "n"}, "spec": spec or {}, "status": status}


def condition(kind: str, status: str = "True", **more: str) -> list[dict[str, Any]]:
    return [{"type": kind, "status": status, **more}]


ADDRESS = {"loadBalancer": {"ingress": [{"ip": "10.0.0.1"}]}}


@pytest.mark.parametrize(
    ("check", "subject", "ready"),
    [
        (readiness.stateful_set, live("StatefulSet", readyReplicas=1, updatedReplicas=1), True),
        (readiness.stateful_set, live("StatefulSet", readyReplicas=1, updatedReplicas=0), False),
        (readiness.stateful_set, live("StatefulSet", {"updateStrategy": {"type": "OnDelete"}}, readyReplicas=1), True),
        (
            readiness.daemon_set,
            live("DaemonSet", desiredNumberScheduled=2, numberReady=2, updatedNumberScheduled=2),
            True,
        ),
        (
            readiness.daemon_set,
            live("DaemonSet", desiredNumberScheduled=2, numberReady=1, updatedNumberScheduled=2),
            False,
        ),
        (readiness.job, live("Job", conditions=condition("Complete")), True),
        (readiness.job, live("Job", {"suspend": True}), True),
        (readiness.job, live("Job", active=1), False),
        (readiness.pod, live("Pod", conditions=condition("Ready")), True),
        (readiness.pod, live("Pod", phase="Succeeded"), True),
        (readiness.pod, live("Pod", phase="Pending"), False),
        (readiness.service, live("Service", {"selector": {"a": "b"}}), False),
        (readiness.service, live("Service", {"selector": {"a": "b"}, "clusterIP": "None"}), True),
        (readiness.service, live("Service", {"type": "ExternalName"}), True),
        (readiness.service, live("Service"), True),
        (readiness.service, live("Service", {"type": "LoadBalancer"}), False),
        (readiness.service, live("Service", {"type": "LoadBalancer"}, **ADDRESS), True),
        (readiness.ingress, live("Ingress"), False),
        (readiness.ingress, live("Ingress", **ADDRESS), True),
        (readiness.volume_claim, live("PersistentVolumeClaim", phase="Bound"), True),
        (readiness.volume_claim, live("PersistentVolumeClaim", {"storageClassName": "now"}, phase="Pending"), False),
        (readiness.volume_claim, live("PersistentVolumeClaim", {"storageClassName": "later"}, phase="Pending"), True),
        (readiness.definition, live("CustomResourceDefinition", conditions=condition("Established")), True),
        (readiness.definition, live("CustomResourceDefinition"), False),
    ],
)
def test_each_kind_is_ready_when_it_can_be_used(
    check: Callable[..., Progress], subject: dict[str, Any], ready: bool
) -> None:
    classes = [
        {"metadata": {"name": "now"}, "volumeBindingMode": "Immediate"},
        {"metadata": {"name": "later"}, "volumeBindingMode": "WaitForFirstConsumer"},
    ]
    assert check(subject, Cluster({"StorageClass": classes})).ready is ready


@pytest.mark.parametrize(("ready", "expected"), [(True, True), (False, False), (None, True)])
def test_a_service_needs_one_ready_endpoint(ready: bool | None, expected: bool) -> None:
    conditions = {} if ready is None else {"ready": ready}
    slices = [{"endpoints": [{"conditions": {"ready": False}}, {"conditions": conditions}]}]
    subject = live("Service", {"selector": {"a": "b"}})
    assert readiness.service(subject, Cluster({"EndpointSlice": slices})).ready is expected


def test_a_failed_job_and_a_lost_volume_will_never_be_ready() -> None:
    failed = live("Job", conditions=condition("Failed", reason="DeadlineExceeded", message="it was too long"))
    assert readiness.job(failed, Cluster()).failure == "it failed: DeadlineExceeded: it was too long"
    assert readiness.volume_claim(live("PersistentVolumeClaim", phase="Lost"), Cluster()).failure


def test_kinds_without_a_check_are_ready_when_they_exist() -> None:
    assert check_of({"apiVersion": "v1", "kind": "ConfigMap"}) is None
    assert check_of({"apiVersion": "apps/v1", "kind": "Deployment"}) is readiness.deployment
    assert check_of({"apiVersion": "example.com/v1", "kind": "Service"}) is None


def why(*pods: dict[str, Any], deep: bool = True, events: list[dict[str, Any]] | None = None, **logs: str) -> list[str]:
    named = {key.replace("__", "/"): text for key, text in logs.items()}
    cluster = Cluster({"Pod": list(pods), "ReplicaSet": replica_sets(), "Event": events or []}, named)
    return explain(deployment(), cluster, deep=deep)


def test_an_image_that_cannot_be_pulled_is_named_with_the_message() -> None:
    waiting = {"waiting": {"reason": "ImagePullBackOff", "message": "not found"}}
    assert why(pod("p", containerStatuses=[container(state=waiting)])) == [
        'Pod n/p: container "c" cannot pull image lab.local/x:1: not found'
    ]


@pytest.mark.parametrize("now", [{"waiting": {"reason": "CrashLoopBackOff", "message": "back-off"}}, {"running": {}}])
def test_a_crash_loop_shows_the_exit_code_and_the_last_lines_of_the_run_that_ended(now: dict[str, Any]) -> None:
    crashed = container(
        state=now,
        lastState={"terminated": {"exitCode": 3, "reason": "Error"}},
        restartCount=2,
    )
    (reason,) = why(pod("p", containerStatuses=[crashed]), p__c__before="first\nlast", p__c__now="again")
    assert reason == (
        'Pod n/p: container "c" ended with exit code 3 after 2 restarts; its last log lines:\n    first\n    last'
    )


def test_a_termination_message_is_worth_more_than_the_log() -> None:
    ended = container("fetch", state={"terminated": {"exitCode": 2, "message": "no version 9; versions: 1, 2\n"}})
    (reason,) = why(pod("p", initContainerStatuses=[ended]), p__fetch__now="noise")
    assert reason == 'Pod n/p: init container "fetch" ended with exit code 2: no version 9; versions: 1, 2'


def test_out_of_memory_is_said() -> None:
    ended = container(state={"terminated": {"exitCode": 137, "reason": "OOMKilled"}})
    assert why(pod("p", containerStatuses=[ended])) == ['Pod n/p: container "c" ended with exit code 137 (OOMKilled)']


def test_the_schedulers_own_words_are_shown() -> None:
    unscheduled = condition("PodScheduled", "False", message="0/2 nodes are available: 1 Insufficient cpu")
    assert why(pod("p", conditions=unscheduled)) == [
        "Pod n/p: cannot be scheduled: 0/2 nodes are available: 1 Insufficient cpu"
    ]


def test_a_failing_probe_is_explained_by_its_event() -> None:
    running = container(state={"running": {}}, started=True)
    events = [
        {"reason": "Unhealthy", "message": "Readiness probe failed: 503", "lastTimestamp": "2026-01-01T00:00:02Z"},
        {"reason": "Unhealthy", "message": "older", "lastTimestamp": "2026-01-01T00:00:01Z"},
    ]
    assert why(pod("p", containerStatuses=[running]), events=events) == [
        'Pod n/p: container "c" runs but is not ready',
        "Pod n/p: Unhealthy: Readiness probe failed: 503",
    ]


def test_only_the_pods_of_the_newest_revision_count_and_no_more_than_three_are_told() -> None:
    unscheduled = condition("PodScheduled", "False", message="full")
    crowd = [pod(f"p{number}", conditions=unscheduled) for number in range(5)]
    assert why(pod("was", owner="old", conditions=unscheduled), *crowd, deep=False)[-1] == "and 2 more Pods"
    assert not any("n/was" in reason for reason in why(pod("was", owner="old", conditions=unscheduled), *crowd))
