"""Errors on a machine that cannot run the cluster, and checks that need no running cluster."""

import io
import json
import tarfile
from pathlib import Path
from typing import Any

import pytest

from lab.cluster import layout, node, operate
from lab.cluster.component import load
from lab.errors import LabError
from tests.lab.cluster.test_pki import is_signed_by, read


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LAB_STATE", str(tmp_path))
    monkeypatch.setenv("LAB_CACHE", str(tmp_path / "cache"))
    (tmp_path / "cluster").mkdir()
    return tmp_path


@pytest.fixture
def configured(state: Path) -> Path:
    operate.configure()
    return state


def test_on_another_system_two_sentences_name_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.platform", "darwin")
    with pytest.raises(LabError) as refused:
        operate.check_machine()
    assert str(refused.value) == (
        "The lab's own cluster needs Linux, and this is darwin. "
        "Use another cluster: lab up --context NAME --registry HOST/PATH"
    )


def test_without_root_the_remedy_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    with pytest.raises(LabError, match=r"needs root, for .*\. Use another cluster: lab up --context NAME"):
        operate.check_machine()


def test_a_state_folder_that_the_node_would_hide_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAB_STATE", "/var/lib/mlops-lab")
    with pytest.raises(LabError, match=r"must not be in /var/lib, .*set LAB_STATE and LAB_CACHE to folders elsewhere"):
        node.prepare()


def test_down_where_there_never_was_a_lab_is_quiet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAB_STATE", str(tmp_path / "none"))
    operate.down(wipe=True)
    assert not (tmp_path / "none").exists()


@pytest.fixture
def no_node(monkeypatch: pytest.MonkeyPatch) -> None:
    """Protect a lab that runs on this machine from the tests."""
    monkeypatch.setattr(node, "remove", lambda: None)
    monkeypatch.setattr(node, "leftovers", list[str])


@pytest.mark.usefixtures("no_node")
def test_a_wipe_takes_what_is_the_labs_and_nothing_else(state: Path) -> None:
    (state / "pulumi").mkdir()
    (state / "passphrase").touch()
    (state / "of-the-user").touch()
    operate.down(wipe=True)
    assert [path.name for path in state.iterdir()] == ["of-the-user"]


@pytest.mark.usefixtures("no_node")
def test_without_a_wipe_the_state_stays(state: Path) -> None:
    (state / "passphrase").touch()
    operate.down()
    assert {"cluster", "passphrase"} <= {path.name for path in state.iterdir()}


@pytest.mark.usefixtures("no_node")
def test_what_could_not_be_removed_is_named(state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(node, "leftovers", lambda: ["mount /stuck"])
    with pytest.raises(LabError, match=r"these could not be removed: mount /stuck; run the command again"):
        operate.down(wipe=True)
    assert (state / "cluster").exists()


@pytest.mark.usefixtures("configured")
def test_a_fresh_machine_plans_to_start_everything() -> None:
    assert operate.plan() == [component.name for component in load()]


@pytest.mark.usefixtures("configured")
def test_writing_the_configuration_again_touches_no_file() -> None:
    def seen() -> dict[Path, int]:
        return {path: path.stat().st_mtime_ns for path in layout.config().rglob("*") if path.is_file()}

    before = seen()
    operate.configure()
    assert seen() == before


def test_the_kubeconfig_can_be_carried_elsewhere(configured: Path) -> None:
    told = json.loads((configured / "kubeconfig").read_text())
    assert told["current-context"] == "mlops-lab"
    assert str(configured) not in json.dumps(told)
    assert (configured / "kubeconfig").stat().st_mode & 0o077 == 0


def certificates_that(authority: object) -> set[str]:
    """Return the names of the certificates that an authority file accepts."""
    trusted = read(layout.pki(), Path(str(authority)).stem)
    names = {each.name for component in load() for each in component.certificates}
    return {name for name in names if is_signed_by(read(layout.pki(), name), trusted)}


@pytest.mark.usefixtures("configured")
def test_only_a_client_with_a_certificate_for_that_port_is_let_in() -> None:
    """tests/e2e/test_lab.py covers callers without a certificate."""
    flags = {component.name: component.flags for component in load()}
    kubelet: Any = load("kubelet")[0].files["kubelet.yaml"]
    etcd, front = flags["etcd"], {"front-proxy"}
    assert certificates_that(etcd["trusted-ca-file"]) == {"etcd", "apiserver-etcd"}
    assert certificates_that(etcd["peer-trusted-ca-file"]) == {"etcd", "apiserver-etcd"}
    assert certificates_that(flags["kube-apiserver"]["requestheader-client-ca-file"]) == front
    clients = certificates_that(flags["kube-apiserver"]["client-ca-file"])
    assert clients == certificates_that(kubelet["authentication"]["x509"]["clientCAFile"])
    assert {"admin", "kubelet", "kube-scheduler"} <= clients
    assert not clients & {"etcd", "apiserver-etcd", *front}


@pytest.mark.usefixtures("configured")
def test_nothing_listens_on_an_address_that_other_machines_reach() -> None:
    told = " ".join(part for component in load() for part in component.arguments)
    files = " ".join(
        path.read_text() for path in layout.config().rglob("*") if path.suffix != ".kubeconfig" and path.is_file()
    )
    assert "0.0.0.0:" not in told + files
    assert f"--bind-address={layout.HOST}" in told


@pytest.mark.usefixtures("configured")
def test_pod_security_is_baseline_where_a_namespace_says_nothing() -> None:
    told = json.loads((layout.config() / "admission.yaml").read_text())
    assert told["plugins"][0]["configuration"]["defaults"]["enforce"] == "baseline"


@pytest.mark.usefixtures("configured")
def test_a_pod_that_asks_for_no_gpu_is_kept_away_from_the_simulated_node() -> None:
    [made] = [each for each in operate.objects() if each["kind"] == "Node"]
    assert made["metadata"]["labels"]["mlops/node-pool"] == "gpu"
    assert made["spec"]["taints"] == [{"key": "nvidia.com/gpu", "value": "present", "effect": "NoSchedule"}]


@pytest.mark.usefixtures("configured")
def test_every_right_belongs_to_a_user_that_the_cluster_knows() -> None:
    known = {certificate.user for component in load() for certificate in component.certificates}
    known.add((layout.pki() / "tokens.csv").read_text().split(",")[1])
    bound = {each["subjects"][0]["name"] for each in operate.objects() if each["kind"] == "ClusterRoleBinding"}
    assert bound <= known


@pytest.mark.usefixtures("configured")
def test_a_component_restarts_when_its_certificate_is_issued_again() -> None:
    before = {component.name: component.fingerprint() for component in load()}
    (layout.pki() / "kube-scheduler.crt").unlink()
    operate.configure()
    changed = {component.name for component in load() if component.fingerprint() != before[component.name]}
    assert changed == {"kube-scheduler"}


def test_the_pause_image_holds_one_program_and_runs_it_as_nobody() -> None:
    with tarfile.open(fileobj=io.BytesIO(operate.pause_archive(b"program"))) as archive:
        parts = {entry.name: entry for entry in archive}
        made = json.load(archive.extractfile(parts["config.json"]) or io.BytesIO())
        layer = archive.extractfile(parts["layer.tar"])
        assert layer
        with tarfile.open(fileobj=layer) as inside:
            assert inside.getnames() == ["pause"]
    assert made["config"] == {"Entrypoint": ["/pause"], "User": "65535:65535"}
