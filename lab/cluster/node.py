"""The node's own world on this machine: network and mount namespaces, a link to the host, a cgroup.

Sysctls that the kubelet sets, firewall rules that kube-proxy writes and folders that containerd fills are those of the
namespaces, not the host's. Mounts hold both namespaces open, so they outlive every process in them.
"""

import contextlib
import os
import signal
import subprocess
import time
from pathlib import Path

from lab import paths
from lab.cluster import layout
from lab.errors import LabError

CGROUPS = Path("/sys/fs/cgroup")
KERNEL_TUNABLES = {
    "vm/overcommit_memory": "1",
    "vm/panic_on_oom": "0",
    "kernel/panic": "10",
    "kernel/panic_on_oops": "1",
    "kernel/keys/root_maxkeys": "1000000",
    "kernel/keys/root_maxbytes": "25000000",
}
"""What the kubelet insists on and would set for the whole machine: it finds files that say so already."""
STOP_SECONDS = 12.0


def prepare() -> None:
    """The namespaces, the link with its addresses and routes, and the cgroups exist."""
    _check_state_folder()
    if not _pinned(layout.network_namespace()) or not _pinned(layout.mount_namespace()):
        remove()
        _make_namespaces()
    if not _linked():
        _make_link()
    for cgroup in _cgroup_roots():
        _make_cgroup(cgroup / layout.NAME)


def prefix() -> list[str]:
    """What a command line begins with to run inside the node."""
    return ["nsenter", f"--net={layout.network_namespace()}", f"--mount={layout.mount_namespace()}", "--"]


def ctr(*arguments: str) -> list[str]:
    """The command line for containerd's client, in the namespace where the kubelet looks for images."""
    return [*prefix(), str(paths.binaries() / "ctr"), "-n", "k8s.io", *arguments]


def remove() -> None:
    """Nothing of the node is left on this machine but its files: no process, mount, namespace, link, route, cgroup."""
    _end_processes()
    for pin in (layout.mount_namespace(), layout.network_namespace(), layout.mount_namespace().parent):
        while pin.exists() and _is_mount(pin):
            _run("umount", "--lazy", str(pin))
    _remove_link()
    for cgroup in _cgroup_roots():
        _remove_cgroup(cgroup / layout.NAME)


def leftovers() -> list[str]:
    """What of the node is on this machine, in words."""
    return [
        *(f"process {pid}" for pid in sorted(inhabitants())),
        *(f"mount {pin}" for pin in (layout.mount_namespace(), layout.network_namespace()) if _pinned(pin)),
        *([f"link {layout.NAME}"] if _has_link() else []),
        *(f"cgroup {root / layout.NAME}" for root in _cgroup_roots() if (root / layout.NAME).exists()),
    ]


def _check_state_folder() -> None:
    for hidden in layout.SHADOWED:
        if paths.state().is_relative_to(hidden) or paths.cache().is_relative_to(hidden):
            raise LabError(
                f"{paths.state()} and {paths.cache()} must not be in {hidden}: the lab's node has a {hidden} "
                "of its own; set LAB_STATE and LAB_CACHE to folders elsewhere"
            )


def _make_namespaces() -> None:
    folder = layout.mount_namespace().parent
    folder.mkdir(parents=True, exist_ok=True)
    # A mount namespace can only be pinned where mounts do not propagate.
    _run("mount", "--bind", str(folder), str(folder))
    _run("mount", "--make-private", str(folder))
    for pin in (layout.mount_namespace(), layout.network_namespace()):
        pin.touch()
    _run(
        "unshare",
        f"--mount={layout.mount_namespace()}",
        f"--net={layout.network_namespace()}",
        "--propagation=private",
        "true",
    )
    _run(*prefix(), "sh", "-euc", _mounts_script())


def _mounts_script() -> str:
    tunables = layout.node() / "tunables"
    for name, value in KERNEL_TUNABLES.items():
        (tunables / name).parent.mkdir(parents=True, exist_ok=True)
        (tunables / name).write_text(f"{value}\n")
    for folder in ("lib/volumes", "log"):
        (layout.node() / folder).mkdir(parents=True, exist_ok=True)
    return "\n".join(
        [
            *(f"mount --bind '{tunables / name}' /proc/sys/{name}" for name in KERNEL_TUNABLES),
            f"mount --bind '{layout.node() / 'lib'}' /var/lib",
            f"mount --bind '{layout.node() / 'log'}' /var/log",
            "mount -t tmpfs -o mode=755 tmpfs /run",
            "mkdir -p /run/lock",
            _names_script(),
            # The kubelet's volumes must reach the pods that ask for it (mountPropagation); nothing reaches the host.
            "mount --make-rshared /",
            "ip link set lo up",
            "echo 1 > /proc/sys/net/ipv4/ip_forward",
        ]
    )


def _names_script() -> str:
    """The node asks the cluster for names: an image in no reachable registry is refused at once, not after minutes."""
    return f"""
        names=$(readlink -m /etc/resolv.conf)
        case $names in /run/*) mkdir -p "${{names%/*}}"; touch "$names";; esac
        [ ! -e "$names" ] || mount --bind '{layout.config() / "resolv.conf"}' "$names"
    """


def _linked() -> bool:
    told = _run("ip", "-4", "route", "show", "dev", layout.NAME, check=False)
    return layout.PODS in told and layout.SERVICES in told


def _make_link() -> None:
    _check_addresses()
    _remove_link()
    inside = prefix()
    _run("ip", "link", "add", layout.NAME, "type", "veth", "peer", "name", f"{layout.NAME}-n")
    # `ip link set netns` wants a name or a pid; a process that enters the namespace gives the pid.
    _move_into_namespace(f"{layout.NAME}-n")
    _run("ip", "address", "add", f"{layout.HOST}/{layout.LINK_PREFIX}", "dev", layout.NAME)
    _run("ip", "link", "set", layout.NAME, "up")
    _run(*inside, "ip", "link", "set", f"{layout.NAME}-n", "name", "eth0")
    _run(*inside, "ip", "address", "add", f"{layout.NODE}/{layout.LINK_PREFIX}", "dev", "eth0")
    _run(*inside, "ip", "link", "set", "eth0", "up")
    _run(*inside, "ip", "route", "add", "default", "via", layout.HOST)
    for network in (layout.PODS, layout.SERVICES):
        _run("ip", "route", "add", network, "via", layout.NODE, "dev", layout.NAME)


def _has_link() -> bool:
    return Path(f"/sys/class/net/{layout.NAME}").exists()


def _remove_link() -> None:
    """A namespace that ends takes the link along, and for a moment the link is still seen but no longer found."""
    end = time.monotonic() + STOP_SECONDS
    while _has_link():
        try:
            _run("ip", "link", "delete", layout.NAME)
        except LabError:
            if time.monotonic() > end:
                raise
            time.sleep(0.02)


def _move_into_namespace(link: str) -> None:
    with subprocess.Popen([*prefix(), "sh", "-c", "echo in; read _"], stdin=-1, stdout=-1) as guest:
        if guest.stdout is None or guest.stdin is None:
            raise AssertionError("both were asked for as pipes")
        guest.stdout.readline()
        _run("ip", "link", "set", link, "netns", str(guest.pid))
        guest.stdin.close()


def _check_addresses() -> None:
    for network in (f"{layout.HOST}/{layout.LINK_PREFIX}", layout.PODS, layout.SERVICES):
        told = _run("ip", "-4", "route", "show", "root", network, "scope", "global", check=False)
        told += _run("ip", "-4", "route", "show", "root", network, "scope", "link", check=False)
        others = [line for line in told.splitlines() if f"dev {layout.NAME}" not in line]
        if others:
            raise LabError(
                f"{network} is routed by this machine already ({others[0].strip()}) and the lab needs it for its "
                "cluster; remove that route, or use a cluster you have: lab up --context NAME"
            )


def _cgroup_roots() -> list[Path]:
    """One hierarchy with cgroup v2; with v1 one for each controller, some of them with a second name as a link."""
    if (CGROUPS / "cgroup.procs").exists():
        return [CGROUPS]
    return [path for path in sorted(CGROUPS.iterdir()) if not path.is_symlink() and (path / "cgroup.procs").exists()]


def _make_cgroup(cgroup: Path) -> None:
    cgroup.mkdir(exist_ok=True)
    for setting in ("cpuset.cpus", "cpuset.mems"):
        # In v1 a new cpuset is empty, and nothing can run in it.
        if (cgroup / setting).exists() and not (cgroup / setting).read_text().strip():
            (cgroup / setting).write_text((cgroup.parent / setting).read_text())
    if (control := cgroup / "cgroup.subtree_control").exists():
        controllers = (cgroup.parent / "cgroup.controllers").read_text().split()
        for name in {"cpu", "cpuset", "memory", "pids", "io"} & set(controllers):
            (cgroup.parent / "cgroup.subtree_control").write_text(f"+{name}")
            control.write_text(f"+{name}")


def _remove_cgroup(cgroup: Path) -> None:
    for group in _tree(cgroup):
        _remove_empty(group)


def _remove_empty(cgroup: Path) -> None:
    """The kernel empties a cgroup a moment after its last process has gone."""
    end = time.monotonic() + 2
    while time.monotonic() < end:
        try:
            cgroup.rmdir()
        except FileNotFoundError:
            return
        except OSError:
            time.sleep(0.02)
        else:
            return


def inhabitants() -> set[int]:
    """All that run in the node's namespaces or below its cgroup: containerd's shims and every container."""
    found = {pid for root in _cgroup_roots() for pid in _cgroup_processes(root / layout.NAME)}
    for name, pin in (("mnt", layout.mount_namespace()), ("net", layout.network_namespace())):
        if _pinned(pin):
            inode = pin.stat().st_ino
            found |= {pid for pid in _all_processes() if _namespace(pid, name) == inode}
    return found - {os.getpid()}


def _cgroup_processes(cgroup: Path) -> set[int]:
    found = set[int]()
    for group in _tree(cgroup):
        with contextlib.suppress(OSError):
            found |= {int(line) for line in (group / "cgroup.procs").read_text().split()}
    return found


def _tree(cgroup: Path) -> list[Path]:
    """A cgroup and all below it, the innermost first. One that vanishes meanwhile, as a pod's does, is left out."""
    return [Path(folder) for folder, _, _ in os.walk(cgroup, topdown=False)]


def _all_processes() -> list[int]:
    return [int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit()]


def _namespace(pid: int, kind: str) -> int | None:
    try:
        return Path(f"/proc/{pid}/ns/{kind}").stat().st_ino
    except OSError:
        return None


def _end_processes() -> None:
    """Containers get SIGTERM and some seconds, as when a pod is deleted: Postgres shuts down in order."""
    contained = {pid for root in _cgroup_roots() for pid in _cgroup_processes(root / layout.NAME)}
    _signal_all(contained, signal.SIGTERM)
    end = time.monotonic() + STOP_SECONDS
    while time.monotonic() < end and any(_cgroup_processes(root / layout.NAME) for root in _cgroup_roots()):
        time.sleep(0.1)
    end = time.monotonic() + STOP_SECONDS
    while (left := inhabitants()) and time.monotonic() < end:
        _signal_all(left, signal.SIGKILL)
        time.sleep(0.1)


def _signal_all(pids: set[int], number: signal.Signals) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)


def _pinned(pin: Path) -> bool:
    """Whether a namespace is mounted on the file: namespaces live on a file system of the kernel's own."""
    return pin.exists() and pin.stat().st_dev == Path("/proc/self/ns/net").stat().st_dev


def _is_mount(path: Path) -> bool:
    told = Path("/proc/self/mountinfo").read_text()
    escaped = str(path).replace("\\", "\\134").replace(" ", "\\040")
    return any(line.split()[4] == escaped for line in told.splitlines())


def _run(*command: str, check: bool = True) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, "LC_ALL": "C"})
    if check and done.returncode:
        raise LabError(f"`{' '.join(command)}` failed: {done.stderr.strip() or done.returncode}")
    return done.stdout
