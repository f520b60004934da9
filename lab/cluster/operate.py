"""Starts, repairs and stops the cluster."""

import fcntl
import hashlib
import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lab import paths
from lab.cluster import components, config, layout, node, objects, pki, process
from lab.cluster.api import Api, ApiError
from lab.cluster.process import Process
from lab.errors import LabError

Say = Callable[[str], None]
NODE_READY_SECONDS = 90.0


def up(say: Say = lambda _: None) -> list[str]:
    """The cluster runs and its nodes are Ready; the names of the processes that had to be started."""
    check_machine()
    paths.cluster().mkdir(parents=True, exist_ok=True)
    with _alone():
        pki.ensure(layout.pki())
        config.write()
        node.prepare()
        started = _bring_up(components.stores(), say)
        _load_pause_image(afresh="containerd" in started)
        started += _bring_up([components.apiserver()], say)
        _apply_objects(afresh=bool(started) or not _exists(layout.GPU_NODE))
        started += _bring_up(components.clients(), say)
        _wait_for_nodes(say)
    return started


def plan() -> list[str]:
    """The processes that `up` would start; changes nothing."""
    return [found.name for found in components.everything() if not process.up_to_date(found)]


def down(*, wipe: bool = False, say: Say = lambda _: None) -> None:
    """No process, mount, namespace, link, route or cgroup of the cluster is left; with `wipe`, no state either."""
    if not paths.cluster().exists():
        return
    check_machine()
    with _alone():
        for component in _order_of_stopping():
            if process.running(component.name):
                say(f"stopping {component.name}")
            # The API server lets its clients' watches run on for a minute; there is nobody left to watch.
            process.stop(component, seconds=2 if component.name == "kube-apiserver" else process.STOP_SECONDS)
        say("stopping containers")
        node.remove()
        process.stop(components.containerd())
        paths.open_ports().unlink(missing_ok=True)
        if left := node.leftovers():
            raise LabError(f"the lab is down, but this machine would not let go of: {', '.join(left)}; try it again")
    if wipe:
        _wipe()


def _wipe() -> None:
    """Only what is known to be the lab's: LAB_STATE may point to a folder that holds other things too."""
    for path in paths.belongings():
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    if not any(paths.state().iterdir()):
        paths.state().rmdir()


def check_machine() -> None:
    """LabError where the built-in cluster cannot work."""
    why = None
    if sys.platform != "linux":
        why = f"The lab's own cluster needs Linux, and this is {sys.platform}."
    elif os.geteuid() != 0:
        why = "The lab's own cluster needs root, for namespaces, mounts and cgroups."
    elif subprocess.run(["unshare", "--mount", "--net", "true"], capture_output=True, check=False).returncode:
        why = "The lab's own cluster needs namespaces, and this machine lets nobody make one."
    if why:
        raise LabError(f"{why} Use a cluster that you have: lab up --context NAME --registry URL")


def _bring_up(wave: list[Process], say: Say) -> list[str]:
    stale = [found for found in wave if not process.up_to_date(found)]
    for found in stale:
        say(f"starting {found.name}")
        process.stop(found)
        process.start(found, node.prefix() if found.in_node else ())
    process.wait_ready(wave)
    return [found.name for found in stale]


def _order_of_stopping() -> list[Process]:
    """The kubelet first, or it would start again what is stopped; what others need, last. Not yet containerd."""
    others = [found for found in components.clients() if found.name != "kubelet"]
    return [components.kubelet(), *others, components.apiserver(), components.etcd()]


@contextmanager
def _alone() -> Generator[None]:
    """One `lab up` or `lab down` at a time."""
    with paths.lock().open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _load_pause_image(*, afresh: bool) -> None:
    """The node has the image that holds every pod's namespaces; it is in no registry that could be asked."""
    binary = (paths.binaries() / "pause").read_bytes()
    digest, marker = hashlib.sha256(binary).hexdigest(), layout.node() / "pause-image"
    if not afresh and marker.exists() and marker.read_text() == digest:
        return
    done = subprocess.run(
        node.ctr("images", "import", "-"), input=pause_archive(binary), capture_output=True, check=False
    )
    if done.returncode:
        raise LabError(f"containerd did not take the pause image: {done.stderr.decode(errors='replace').strip()}")
    marker.write_text(digest)


def pause_archive(binary: bytes) -> bytes:
    """A docker-archive of an image that holds one static program."""
    layer = _tar({"pause": binary})
    made = {
        "architecture": "amd64",
        "os": "linux",
        "config": {"Entrypoint": ["/pause"], "User": "65535:65535"},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(layer).hexdigest()}"]},
    }
    manifest = [{"Config": "config.json", "RepoTags": [layout.PAUSE_IMAGE], "Layers": ["layer.tar"]}]
    return _tar(
        {
            "config.json": json.dumps(made).encode(),
            "layer.tar": layer,
            "manifest.json": json.dumps(manifest).encode(),
        }
    )


def _tar(files: dict[str, bytes]) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(content), 0o755
            archive.addfile(entry, io.BytesIO(content))
    return packed.getvalue()


def _apply_objects(*, afresh: bool) -> None:
    wanted = objects.wanted()
    digest = hashlib.sha256(json.dumps([wanted, objects.gpu_node_status()]).encode()).hexdigest()
    marker = paths.cluster() / "applied"
    if not afresh and marker.exists() and marker.read_text() == digest:
        return
    api = Api(timeout=30)
    for each in wanted:
        api.apply(each)
    api.apply(objects.gpu_node_status(), subresource="/status")
    marker.write_text(digest)


def _exists(node_name: str) -> bool:
    try:
        Api().get(f"/api/v1/nodes/{node_name}")
    except ApiError:
        return False
    return True


def _wait_for_nodes(say: Say) -> None:
    api, end = Api(), time.monotonic() + NODE_READY_SECONDS
    for name in (layout.CPU_NODE, layout.GPU_NODE):
        told = False
        while (state := _readiness(api, name)) != "True":
            if not told:
                say(f"waiting for node {name}")
                told = True
            if time.monotonic() > end:
                raise LabError(
                    f"node {name} is not Ready after {NODE_READY_SECONDS:.0f} s: {state}; see: lab logs kubelet"
                )
            time.sleep(0.2)


def _readiness(api: Api, name: str) -> str:
    try:
        found: dict[str, Any] = api.get(f"/api/v1/nodes/{name}")
    except ApiError as error:
        return str(error)
    conditions = [each for each in found["status"].get("conditions", ()) if each["type"] == "Ready"]
    if not conditions:
        return "it says nothing yet"
    return "True" if conditions[0]["status"] == "True" else str(conditions[0].get("message", conditions[0]["status"]))


def is_running() -> bool:
    """Whether the API server of this lab runs; asks nobody else."""
    return process.running("kube-apiserver") is not None


def log_file(name: str) -> Path:
    """Where a process of the cluster writes; LabError for a name that is none."""
    known = [found.name for found in components.everything()]
    if name not in known:
        raise LabError(f"{name}: no such process; the lab has {', '.join(sorted(known))}")
    return paths.logs() / f"{name}.log"
