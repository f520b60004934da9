"""The stand-in for the Kubernetes plugin, under the real engine, on the lab's cluster."""

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from lab import paths
from lab.providers import wrappers
from tests.projects import Engine, Project, wait_until

pytestmark = pytest.mark.e2e

NAMESPACE = "stand-in"
PAUSE = "lab.local/pause:1"
# Without the SDK, which takes seconds to import.
DECLARES = """
    import json, pathlib, pulumi
    made = {}
    for each in json.loads(pathlib.Path("objects.json").read_text()):
        options = pulumi.ResourceOptions(depends_on=[made[name] for name in each["after"]], import_=each["imported"])
        made[each["name"]] = pulumi.CustomResource(each["type"], each["name"], each["inputs"], options)
"""
SDK = """
    import pulumi
    import pulumi_kubernetes as k8s

    place = {"namespace": "stand-in"}
    secret = k8s.core.v1.Secret("secret", metadata=place, string_data={"password": "hush-hush-1"})
    settings = k8s.core.v1.ConfigMap(
        "settings", metadata=place, data={"plain": "1", "hidden": pulumi.Output.secret("hush-hush-2")}
    )
    labels = {"app": "web"}
    web = k8s.apps.v1.Deployment("web", metadata=place, spec={
        "selector": {"match_labels": labels},
        "template": {
            "metadata": {"labels": labels},
            "spec": {"containers": [{
                "name": "c",
                "image": "lab.local/pause:1",
                "env_from": [{"config_map_ref": {"name": settings.metadata["name"]}}],
                "resources": {"requests": {"cpu": "0.01", "memory": "1024Ki"}},
            }]},
        },
    })
    service = k8s.core.v1.Service(
        "service", metadata={**place, "name": "web"}, spec={"selector": labels, "ports": [{"port": 80}]}
    )
    pulumi.export("name", settings.metadata["name"])
    pulumi.export("address", service.spec["cluster_ip"])
    pulumi.export("ready", web.status["ready_replicas"])
"""


def kubectl(*arguments: str, stdin: str | None = None) -> str:
    done = subprocess.run(
        [paths.binaries() / "kubectl", "--kubeconfig", paths.kubeconfig(), *arguments],
        input=stdin, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def live(kind: str, name: str) -> dict[str, Any]:
    return json.loads(kubectl("-n", NAMESPACE, "get", kind, name, "-o", "json"))


def names(kind: str) -> list[str]:
    return kubectl("-n", NAMESPACE, "get", kind, "-o", "jsonpath={.items[*].metadata.name}").split()


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Engine:
    home = tmp_path_factory.mktemp("pulumi-home")
    wrappers.install(home / "plugins", Path(sys.executable))
    return Engine(home, {"KUBECONFIG": str(paths.kubeconfig())})


@pytest.fixture(scope="module", autouse=True)
def namespace() -> Iterator[None]:
    kubectl("create", "namespace", NAMESPACE)
    levels = [
        f"pod-security.kubernetes.io/{mode}=privileged" for mode in ("enforce", "warn")
    ]  # Pods use the node's files
    kubectl("label", "namespace", NAMESPACE, *levels)
    yield
    kubectl("delete", "namespace", NAMESPACE, "--wait=false")


@pytest.fixture(autouse=True)
def nothing_left() -> Iterator[None]:
    yield
    kinds = "deployments,jobs,pods,services,ingresses,persistentvolumeclaims,secrets,configmaps,quota"
    kubectl("-n", NAMESPACE, "delete", kinds, "--all", "--force", "--wait=false")


@dataclass(frozen=True)
class Declared:
    """One resource of a program."""

    type: str
    name: str
    inputs: dict[str, Any] = field(default_factory=dict[str, Any])
    after: list[str] = field(default_factory=list[str])
    imported: str | None = None

    def write(self) -> dict[str, Any]:
        return {**self.__dict__, "type": f"kubernetes:{self.type}"}


def declare(project: Project, *declared: Declared) -> None:
    (project.folder / "objects.json").write_text(json.dumps([each.write() for each in declared]))


def metadata(name: str | None = None, **annotations: str) -> dict[str, Any]:
    found: dict[str, Any] = {
        "namespace": NAMESPACE,
        "annotations": {f"pulumi.com/{k}": v for k, v in annotations.items()},
    }
    return {**found, "name": name} if name else found


def config_map(name: str, *, named: bool = True, **data: str) -> Declared:
    return Declared("core/v1:ConfigMap", name, {"metadata": metadata(name if named else None), "data": data})


def pod_spec(*command: str, image: str = PAUSE, **more: Any) -> dict[str, Any]:
    """A Pod of the pause image; a `command` runs on the node's own programs, as the image has none."""
    folders = ("bin", "lib", "lib64", "usr") if command else ()
    return {
        "terminationGracePeriodSeconds": 0,
        "nodeSelector": {"mlops/node-pool": "cpu"},
        "containers": [{
            "name": "main", "image": image,
            "volumeMounts": [{"name": each, "mountPath": f"/{each}", "readOnly": True} for each in folders],
            **({"command": list(command)} if command else {}),
        }],
        "volumes": [{"name": each, "hostPath": {"path": f"/{each}"}} for each in folders],
        **more,
    }  # fmt: skip


def deployment(name: str, pod: dict[str, Any], *, seconds: int = 30, **spec: Any) -> Declared:
    labels = {"app": name}
    template = {"metadata": {"labels": labels}, "spec": pod}
    return Declared("apps/v1:Deployment", name, {
        "metadata": metadata(name, timeoutSeconds=str(seconds)),
        "spec": {"selector": {"matchLabels": labels}, "template": template, **spec},
    })  # fmt: skip


def job(name: str, *command: str, named: bool = True, seconds: int = 30, **spec: Any) -> Declared:
    return Declared("batch/v1:Job", name, {
        "metadata": metadata(name if named else None, timeoutSeconds=str(seconds)),
        "spec": {"backoffLimit": 0, "template": {"spec": pod_spec(*command, restartPolicy="Never")}, **spec},
    })  # fmt: skip


def test_a_program_goes_up_stays_as_it_is_and_goes_down(engine: Engine, tmp_path: Path) -> None:
    project = engine.project(tmp_path, SDK)
    preview = project.preview()
    assert preview.succeeded, preview.output
    assert {op for ops in preview.changes.values() for op in ops} == {"create"}
    assert "settings" not in " ".join(names("configmap"))

    up = project.up()
    assert up.succeeded, up.output
    assert up.outputs["name"].startswith("settings-")
    assert up.outputs["address"] == live("service", "web")["spec"]["clusterIP"]
    assert up.outputs["ready"] == 1
    assert "hush-hush" not in json.dumps(project.state())

    assert project.up().changes == {}
    assert project.refresh().changes == {}
    assert project.up().changes == {}

    assert project.destroy().succeeded
    assert names("deployment,service,secret") == []


def test_an_auto_named_object_is_replaced_by_another_name_and_a_named_one_updated(
    engine: Engine, tmp_path: Path
) -> None:
    project = engine.project(tmp_path, DECLARES)
    declare(project, config_map("auto", named=False, a="1"), config_map("named", a="1", gone="1"))
    assert project.up().succeeded
    before = project.resource("auto")["id"]

    declare(project, config_map("auto", named=False, a="2"), config_map("named", a="2"))
    preview = project.preview()
    assert preview.step("named", "update").diff == {"data.a": "update", "data.gone": "delete"}
    assert preview.step("auto", "replace").diff == {"data.a": "update-replace"}
    up = project.up()
    assert up.changes == {"named": ["update"], "auto": ["create-replacement", "replace", "delete-replaced"]}
    assert project.resource("auto")["id"] != before
    assert live("configmap", "named")["data"] == {"a": "2"}
    assert [name for name in names("configmap") if name.startswith("auto")] == [
        project.resource("auto")["id"].split("/")[1]
    ]


def test_what_cannot_change_is_deleted_first_when_its_name_is_fixed(engine: Engine, tmp_path: Path) -> None:
    project = engine.project(tmp_path, DECLARES)
    declare(
        project,
        job("work", "/bin/true"),
        deployment("web", pod_spec()),
        Declared("v1:Pod", "pod", {"metadata": metadata("pod"), "spec": pod_spec()}),
    )
    up = project.up()
    assert up.succeeded, up.output

    web = deployment("web", pod_spec())
    web.inputs["spec"]["selector"]["matchLabels"] = {"app": "web", "more": "1"}
    web.inputs["spec"]["template"]["metadata"]["labels"] = {"app": "web", "more": "1"}
    declare(
        project,
        job("work", "/bin/sh", "-c", "true"),
        web,
        # No table says so: the server's dry run does.
        Declared("v1:Pod", "pod", {"metadata": metadata("pod"), "spec": pod_spec(hostname="other")}),
    )
    preview = project.preview()
    assert preview.succeeded, preview.output
    assert preview.step("pod", "replace").diff == {"spec.hostname": "add-replace"}
    up = project.up()
    assert up.succeeded, up.output
    in_turn = ["delete-replaced", "replace", "create-replacement"]
    assert up.changes == {"work": in_turn, "web": in_turn, "pod": in_turn}


def test_a_preview_asks_the_server_and_changes_nothing(engine: Engine, tmp_path: Path) -> None:
    project = engine.project(tmp_path, DECLARES)
    declare(project, deployment("web", pod_spec(), replicas=-1))
    preview = project.preview()
    assert not preview.succeeded
    assert "spec.replicas: Invalid value: -1" in preview.said()
    assert f"Deployment {NAMESPACE}/web" in preview.said()
    assert names("deployment") == []


def test_every_failure_to_become_ready_tells_its_reason(engine: Engine, tmp_path: Path) -> None:
    kubectl("-n", NAMESPACE, "create", "quota", "no-secrets", "--hard=count/jobs.batch=100,requests.cpu=1")
    small = {"resources": {"requests": {"cpu": "10m"}}}

    def pod(*command: str, **more: Any) -> dict[str, Any]:
        spec = pod_spec(*command, **more)
        spec["containers"][0] |= small
        return spec

    def init(spec: dict[str, Any]) -> dict[str, Any]:
        script = "echo 'there is no version 9; versions: 1, 2' > /dev/termination-log; exit 2"
        first = {**pod("/bin/sh", "-c", script)["containers"][0], "name": "fetch"}
        return {**spec, "initContainers": [first], "volumes": pod("/bin/sh")["volumes"]}

    failing = job("failing", "/bin/sh", "-c", "echo no column total_charges; exit 2")
    failing.inputs["spec"]["template"]["spec"]["containers"][0] |= small
    greedy = pod()
    greedy["containers"][0]["resources"] = {"requests": {"cpu": "3"}}
    project = engine.project(tmp_path, DECLARES)
    declare(
        project,
        deployment("image", pod(image="lab.local/nowhere:1"), seconds=30),
        deployment("crash", pod("/bin/sh", "-c", "echo first; echo the reason; exit 3"), seconds=30),
        deployment("starting", init(pod()), seconds=30),
        deployment("nowhere", pod(nodeSelector={"is": "nowhere"}), seconds=8),
        deployment("greedy", greedy, seconds=8),
        deployment("slow", pod("/bin/sh", "-c", "exit 1"), seconds=60, progressDeadlineSeconds=4),
        failing,
        Declared("core/v1:Service", "alone", {
            "metadata": metadata("alone", timeoutSeconds="3"),
            "spec": {"selector": {"app": "nobody"}, "ports": [{"port": 80}]},
        }),
        Declared("core/v1:PersistentVolumeClaim", "claim", {
            "metadata": metadata("claim", timeoutSeconds="3"),
            "spec": {"storageClassName": "none", "accessModes": ["ReadWriteOnce"],
                     "resources": {"requests": {"storage": "1Mi"}}},
        }),
        Declared("networking.k8s.io/v1:Ingress", "door", {
            "metadata": metadata("door", timeoutSeconds="3"),
            "spec": {"defaultBackend": {"service": {"name": "alone", "port": {"number": 80}}}},
        }),
    )  # fmt: skip
    failed = project.up("--parallel", "16", "--continue-on-error")
    assert not failed.succeeded
    said = failed.said()
    for words in (
        (
            "Deployment stand-in/image did not become ready: "
            "after 30 s it still waits for 1 of 1 Pods updated, 0 available"
        ),
        'container "main" cannot pull image lab.local/nowhere:1',
        'container "main" ended with exit code 3',
        "the reason",
        'init container "fetch" ended with exit code 2',
        "there is no version 9; versions: 1, 2",
        "cannot be scheduled: 0/2 nodes are available",
        "exceeded quota: no-secrets",
        "Deployment stand-in/slow did not become ready: no progress for 4 s",
        "Job stand-in/failing did not become ready: it failed: BackoffLimitExceeded",
        "no column total_charges",
        "Service stand-in/alone did not become ready: after 3 s it still waits for a ready Pod",
        "PersistentVolumeClaim stand-in/claim did not become ready",
        "Ingress stand-in/door did not become ready: after 3 s it still waits for an address from its controller",
    ):
        assert words in said
    assert project.resource("crash")["initErrors"]

    # The state holds what was made; the next update goes on with it.
    declare(project, deployment("crash", pod()), deployment("nowhere", pod(nodeSelector={"is": "nowhere"}), seconds=3))
    again = project.up()
    assert (again.changes["crash"], again.changes["nowhere"]) == (["update"], ["update"])
    assert "initErrors" not in project.resource("crash")
    assert "cannot be scheduled" in again.said()


def test_a_hand_edit_is_found_by_a_refresh_and_put_right_with_force(engine: Engine, tmp_path: Path) -> None:
    web = deployment("web", pod_spec(), replicas=1)
    web.inputs["metadata"]["labels"] = {"team": "ml"}
    project = engine.project(tmp_path, DECLARES)
    declare(project, web, config_map("gone", a="1"))
    assert project.up().succeeded
    kubectl("-n", NAMESPACE, "scale", "deployment", "web", "--replicas", "2")
    kubectl("-n", NAMESPACE, "label", "deployment", "web", "team=other", "mine=1", "--overwrite")
    kubectl("-n", NAMESPACE, "delete", "configmap", "gone")
    kubectl("-n", NAMESPACE, "rollout", "status", "deployment", "web")

    refresh = project.refresh()
    assert refresh.changes == {"web": ["update"], "gone": ["delete"]}
    step = next(step for step in refresh.steps if step.name == "web")
    assert step.diff == {"spec.replicas": "update", "metadata.labels.team": "update"}

    refused = project.up()
    assert refused.changes == {"web": ["update"], "gone": ["create"]}
    assert '.spec.replicas (set by "kubectl")' in refused.said()
    assert "pulumi.com/patchForce" in refused.said()

    project.environment["PULUMI_K8S_ENABLE_PATCH_FORCE"] = "true"
    up = project.up()
    assert up.succeeded, up.output
    found = live("deployment", "web")
    assert found["spec"]["replicas"] == 1
    assert found["metadata"]["labels"] == {"team": "ml", "mine": "1"}
    assert project.refresh().changes == {}


def test_an_object_of_someone_else_is_refused_and_can_be_imported(engine: Engine, tmp_path: Path) -> None:
    kubectl("-n", NAMESPACE, "create", "configmap", "theirs", "--from-literal=a=1")
    kubectl("-n", NAMESPACE, "create", "secret", "generic", "hidden", "--from-literal=a=hush-hush")
    project = engine.project(tmp_path, DECLARES)
    declare(project, config_map("theirs", a="2"))
    refused = project.up()
    assert not refused.succeeded
    assert f"ConfigMap {NAMESPACE}/theirs already exists" in refused.said()
    assert "pulumi import" in refused.said()

    theirs = config_map("theirs", a="2")
    declare(project, Declared(theirs.type, theirs.name, theirs.inputs, imported=f"{NAMESPACE}/theirs"))
    project.environment["PULUMI_K8S_ENABLE_PATCH_FORCE"] = "true"
    up = project.up()
    assert up.succeeded, up.output
    assert live("configmap", "theirs")["data"] == {"a": "2"}

    project.pulumi("import", "kubernetes:core/v1:Secret", "hidden", f"{NAMESPACE}/hidden", "--yes", "--skip-preview",
                   "--protect=false", "--generate-code=false")  # fmt: skip
    assert project.resource("hidden")["id"] == f"{NAMESPACE}/hidden"
    assert "aHVzaC1odXNo" not in json.dumps(project.state())


def test_a_definition_and_its_objects_come_up_in_one_update(engine: Engine, tmp_path: Path) -> None:
    project = engine.project(tmp_path, DECLARES)
    schema = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    crd = Declared("apiextensions.k8s.io/v1:CustomResourceDefinition", "things", {
        "metadata": {"name": "things.stand-in.example"},
        "spec": {
            "group": "stand-in.example", "scope": "Namespaced", "names": {"plural": "things", "kind": "Thing"},
            "versions": [{"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}],
        },
    })  # fmt: skip
    thing = Declared("stand-in.example/v1:Thing", "one", {
        "apiVersion": "stand-in.example/v1", "kind": "Thing", "metadata": metadata("one"), "spec": {"size": 1},
    }, after=["things"])  # fmt: skip
    declare(project, crd, thing)
    assert project.preview().succeeded
    up = project.up()
    assert up.succeeded, up.output
    assert live("things.stand-in.example", "one")["spec"] == {"size": 1}
    thing.inputs["spec"]["size"] = 2
    declare(project, crd, thing)
    assert project.up().changes == {"one": ["update"]}
    assert project.destroy().succeeded


def test_a_patch_sets_its_fields_and_takes_them_back(engine: Engine, tmp_path: Path) -> None:
    kubectl("-n", NAMESPACE, "create", "configmap", "theirs", "--from-literal=a=1")
    project = engine.project(tmp_path, DECLARES)
    declare(project, Declared("core/v1:ConfigMapPatch", "more", {"metadata": metadata("theirs"), "data": {"b": "2"}}))
    up = project.up()
    assert up.succeeded, up.output
    assert live("configmap", "theirs")["data"] == {"a": "1", "b": "2"}
    assert project.destroy().succeeded
    assert live("configmap", "theirs")["data"] == {"a": "1"}


def test_an_update_after_a_killed_engine_completes_and_leaves_no_orphan(engine: Engine, tmp_path: Path) -> None:
    project = engine.project(tmp_path, DECLARES)
    slow = job("train", "/bin/sleep", "600", named=False, seconds=60)
    web = deployment("web", pod_spec("/bin/sleep", "600"), seconds=60, minReadySeconds=20)
    declare(project, slow, web)
    process = project.start("up", "--yes", "--skip-preview")
    wait_until(lambda: bool(names("job")) and names("deployment") == ["web"], process)
    (interrupted,) = names("job")
    project.kill(process)

    declare(project, job("train", "/bin/true", named=False, seconds=60), web)
    web.inputs["spec"]["minReadySeconds"] = 0
    declare(project, job("train", "/bin/true", named=False, seconds=60), web)
    up = project.up()
    assert up.succeeded, up.output
    assert names("job") == [project.resource("train")["id"].split("/")[1]]
    assert interrupted not in names("job")
    assert project.up().changes == {}


def test_a_cluster_that_does_not_answer_fails_an_update_but_no_preview(engine: Engine, tmp_path: Path) -> None:
    nowhere = {
        "current-context": "c", "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
        "clusters": [{"name": "c", "cluster": {"server": "https://127.0.0.1:9", "insecure-skip-tls-verify": True}}],
        "users": [{"name": "u", "user": {"token": "t"}}],
    }  # fmt: skip
    config = tmp_path / "kubeconfig"
    config.write_text(json.dumps(nowhere))
    project = engine.project(tmp_path / "project", DECLARES, KUBECONFIG=str(config))
    declare(project, config_map("named", a="1"), config_map("auto", named=False, a="1"))
    preview = project.preview()
    assert preview.succeeded, preview.output
    assert "not checked by the cluster" in preview.said("warning")
    up = project.up()
    assert not up.succeeded
    assert "the Kubernetes API server https://127.0.0.1:9 does not answer" in up.said()
    assert "Is the cluster up" in up.said()


def test_a_kubeconfig_that_is_not_known_yet_fails_no_preview(engine: Engine, tmp_path: Path) -> None:
    program = """
        import pathlib, pulumi, pulumi_kubernetes as k8s
        config = pathlib.Path("KUBECONFIG").read_text()
        first = k8s.core.v1.ConfigMap("first", metadata={"namespace": "stand-in"}, data={"a": "1"})
        later = k8s.Provider("later", kubeconfig=first.metadata["uid"].apply(lambda _: config), namespace="stand-in")
        k8s.core.v1.ConfigMap("second", data={"a": "1"}, opts=pulumi.ResourceOptions(provider=later))
    """.replace("KUBECONFIG", str(paths.kubeconfig()))
    project = engine.project(tmp_path, program)
    assert project.preview().succeeded
    up = project.up()
    assert up.succeeded, up.output
    assert project.resource("second")["id"].startswith(f"{NAMESPACE}/second-")
    assert project.destroy().succeeded


def test_what_is_no_single_object_names_the_official_plugin(engine: Engine, tmp_path: Path) -> None:
    project = engine.project(tmp_path, DECLARES)
    declare(project, Declared("helm.sh/v3:Release", "chart", {"chart": "nginx"}))
    preview = project.preview()
    assert not preview.succeeded
    assert "it needs the official plugin" in preview.said() or "needs the official plugin" in preview.said()
