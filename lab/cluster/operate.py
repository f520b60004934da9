"""Start, repair and stop the cluster."""

import base64
import fcntl
import hashlib
import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path

from images.commands import output
from images.errors import ProgramError
from lab import paths
from lab.cluster import layout, node, pki, process
from lab.cluster.component import APISERVER, CLIENTS, STORES, Component, Object, crt, key, load, text
from lab.errors import LabError
from lab.files import write

Say = Callable[[str], None]
NODE_READY_SECONDS = 90


def up(say: Say = lambda _: None) -> list[str]:
    """Bring the cluster up until its nodes are Ready, and return the names of the processes that were started."""
    check_machine()
    paths.cluster().mkdir(parents=True, exist_ok=True)
    with _alone():
        configure()
        node.prepare()
        started = _bring_up(load(*STORES), say)
        _load_pause_image(afresh="containerd" in started)
        started += _bring_up(load(APISERVER), say)
        _apply_objects(afresh=bool(started) or not _has_gpu_node())
        started += _bring_up(load(*CLIENTS), say)
        _wait_for_nodes(say)
    return started


def configure() -> None:
    """Write the certificates and configuration files of this version of the lab."""
    pki.ensure(certificate for component in load() for certificate in component.certificates)
    for component in load():
        for name, content in component.files.items():
            write(layout.config() / name, text(content))
        for certificate in component.certificates:
            access: Object = {
                "client-certificate": str(crt(certificate.name)),
                "client-key": str(key(certificate.name)),
            }
            content = _kubeconfig({"certificate-authority": str(crt("ca"))}, access)
            write(layout.config() / f"{certificate.name}.kubeconfig", content)
    # The administrator's certificate is embedded, so the file can be copied to other folders.
    access = {"client-certificate-data": _encoded(crt("admin")), "client-key-data": _encoded(key("admin"))}
    write(paths.kubeconfig(), _kubeconfig({"certificate-authority-data": _encoded(crt("ca"))}, access))


def plan() -> list[str]:
    """Return the names of the processes that `up` would start."""
    return [found.name for found in load() if not process.up_to_date(found)]


def down(*, wipe: bool = False, say: Say = lambda _: None) -> None:
    """Remove each process, mount, namespace, link, route and cgroup of the cluster; with `wipe`, the state too."""
    if not paths.cluster().exists():
        return
    check_machine()
    with _alone():
        for found in _order_of_stopping():
            if process.running(found.name):
                say(f"stopping {found.name}")
            # The API server waits up to a minute for open watches, but its clients have ended.
            process.stop(found, seconds=2 if found.name == APISERVER else process.STOP_SECONDS)
        say("stopping containers")
        node.remove()
        for found in load(*STORES):
            process.stop(found)
        paths.open_ports().unlink(missing_ok=True)
        if left := node.leftovers():
            raise LabError(f"the lab is down, but these could not be removed: {', '.join(left)}; run the command again")
    if wipe:
        _wipe()


def check_machine() -> None:
    """Raise LabError if the lab's own cluster cannot run on this machine."""
    why = None
    if sys.platform != "linux":
        why = f"The lab's own cluster needs Linux, and this is {sys.platform}."
    elif os.geteuid() != 0:
        why = "The lab's own cluster needs root, for namespaces, mounts and cgroups."
    elif subprocess.run(["unshare", "--mount", "--net", "true"], capture_output=True, check=False).returncode:
        why = "The lab's own cluster needs namespaces, and this machine does not allow them."
    if why:
        raise LabError(f"{why} Use another cluster: lab up --context NAME --registry HOST/PATH")


def kubectl(*arguments: str, stdin: str = "") -> str:
    """Run kubectl as administrator of the lab's cluster and return its output. ProgramError if it fails."""
    return output([f"{sys.prefix}/bin/kubectl", f"--kubeconfig={paths.kubeconfig()}", *arguments], stdin=stdin)


def _wipe() -> None:
    """Delete the lab's own files only, because LAB_STATE may be a folder with other files."""
    for path in paths.belongings():
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    if not any(paths.state().iterdir()):
        paths.state().rmdir()


def _bring_up(wave: list[Component], say: Say) -> list[str]:
    stale = [found for found in wave if not process.up_to_date(found)]
    for found in stale:
        say(f"starting {found.name}")
        process.stop(found)
        process.start(found, node.prefix() if found.in_node else ())
    process.wait_ready(wave)
    return [found.name for found in stale]


def _order_of_stopping() -> list[Component]:
    """Return the processes in the order of stopping: the kubelet first, as it restarts pods; the API server last."""
    clients = sorted(load(*CLIENTS), key=lambda found: found.name != "kubelet")
    return [*clients, *load(APISERVER)]


@contextmanager
def _alone() -> Generator[None]:
    """Hold the lock that allows one `lab up` or `lab down` at a time."""
    with paths.lock().open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _load_pause_image(*, afresh: bool) -> None:
    """Load the pause image, which holds the namespaces of each pod and is in no registry."""
    binary = (paths.binaries() / "pause").read_bytes()
    digest, marker = hashlib.sha256(binary).hexdigest(), layout.node() / "pause-image"
    if not afresh and marker.exists() and marker.read_text() == digest:
        return
    done = subprocess.run(
        node.ctr("images", "import", "-"), input=pause_archive(binary), capture_output=True, check=False
    )
    if done.returncode:
        raise LabError(f"containerd cannot import the pause image: {done.stderr.decode(errors='replace').strip()}")
    write(marker, digest)


def pause_archive(binary: bytes) -> bytes:
    """Return a docker-archive of an image with one static program."""
    layer = _tar({"pause": binary})
    config = {
        "architecture": "amd64",
        "os": "linux",
        "config": {"Entrypoint": ["/pause"], "User": "65535:65535"},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(layer).hexdigest()}"]},
    }
    manifest = [{"Config": "config.json", "RepoTags": [layout.PAUSE_IMAGE], "Layers": ["layer.tar"]}]
    files = {"config.json": json.dumps(config).encode(), "manifest.json": json.dumps(manifest).encode()}
    return _tar({**files, "layer.tar": layer})


def _tar(files: dict[str, bytes]) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(content), 0o755
            archive.addfile(entry, io.BytesIO(content))
    return packed.getvalue()


def _apply_objects(*, afresh: bool) -> None:
    """Apply the components' objects after a start, or if this version of the lab has other objects."""
    wanted = json.dumps({"apiVersion": "v1", "kind": "List", "items": objects()})
    digest, marker = hashlib.sha256(wanted.encode()).hexdigest(), paths.cluster() / "applied"
    if afresh or not marker.exists() or marker.read_text() != digest:
        kubectl("apply", "--server-side", "--force-conflicts", "--field-manager=lab", "--filename=-", stdin=wanted)
        write(marker, digest)


def objects() -> list[Object]:
    """Return all objects that the components need in the cluster."""
    return [wanted for component in load() for wanted in (*component.access(), *component.objects)]


def _has_gpu_node() -> bool:
    return bool(kubectl("get", "node", layout.GPU_NODE, "--ignore-not-found", "--output=name"))


def _wait_for_nodes(say: Say) -> None:
    say("waiting for the nodes")
    nodes, seconds = [f"node/{name}" for name in (layout.CPU_NODE, layout.GPU_NODE)], f"{NODE_READY_SECONDS}s"
    try:
        kubectl("wait", "--for=create", f"--timeout={seconds}", *nodes)
        kubectl("wait", "--for=condition=Ready", f"--timeout={seconds}", *nodes)
    except ProgramError as error:
        raise LabError(f"not every node is Ready after {seconds}: {error}; see: lab logs kubelet") from error


def _kubeconfig(cluster: Object, user: Object) -> str:
    """Return a kubeconfig with one context, named after the lab."""
    name = layout.NAME
    content = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": name, "cluster": {"server": layout.API_SERVER, **cluster}}],
        "users": [{"name": f"{name}-admin", "user": user}],
        "contexts": [{"name": name, "context": {"cluster": name, "user": f"{name}-admin"}}],
        "current-context": name,
    }
    return json.dumps(content, indent=2)


def _encoded(file: Path) -> str:
    return base64.b64encode(file.read_bytes()).decode()
