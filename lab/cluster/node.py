"""Isolation of the node on this machine: network and mount namespaces, a link to the host, a cgroup.

Sysctls of the kubelet, firewall rules of kube-proxy and folders of containerd belong to the namespaces and do not
change the host. Mounts keep both namespaces alive without a process in them.
"""

import contextlib
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterable
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
"""Kernel settings that the kubelet would change for the whole machine. The node shows it files with these values."""
STOP_SECONDS = 12.0


def prepare() -> None:
    """Create the namespaces, the link with its addresses and routes, and the cgroups, if they are missing."""
    _check_state_folder()
    if not all(map(_pinned, _pins())):
        remove()
        _make_namespaces()
    if not _linked():
        _make_link()
    for root in _cgroup_roots():
        _make_cgroup(root / layout.NAME)


def prefix() -> list[str]:
    """Return the beginning of a command line that runs inside the node."""
    return ["nsenter", f"--net={layout.network_namespace()}", f"--mount={layout.mount_namespace()}", "--"]


def ctr(*arguments: str) -> list[str]:
    """Return a command line of containerd's client, in the namespace where the kubelet looks for images."""
    return [*prefix(), str(paths.binaries() / "ctr"), "-n", "k8s.io", *arguments]


def remove() -> None:
    """Remove the node's processes, mounts, namespaces, link, routes and cgroups; its files stay."""
    _end_processes()
    for pin in (*_pins(), layout.mount_namespace().parent):
        while pin.exists() and _is_mount(pin):
            run("umount", "--lazy", str(pin))
    _remove_link()
    for group in [group for root in _cgroup_roots() for group in _tree(root / layout.NAME)]:
        _remove_cgroup(group)


def leftovers() -> list[str]:
    """Return the names of processes, mounts, links and cgroups of the node that still exist."""
    return [
        *(f"process {pid}" for pid in sorted(inhabitants())),
        *(f"mount {pin}" for pin in _pins() if _pinned(pin)),
        *([f"link {layout.NAME}"] if _has_link() else []),
        *(f"cgroup {root / layout.NAME}" for root in _cgroup_roots() if (root / layout.NAME).exists()),
    ]


def inhabitants() -> set[int]:
    """Return the pids in the node's namespaces or below its cgroup: containerd's shims and every container."""
    found = _contained()
    pins = {pin.stat().st_ino for pin in _pins() if _pinned(pin)}
    for process in Path("/proc").glob("[0-9]*/ns"):
        with contextlib.suppress(OSError):
            if pins & {(process / kind).stat().st_ino for kind in ("mnt", "net")}:
                found.add(int(process.parent.name))
    return found - {os.getpid()}


def run(*command: str, check: bool = True) -> str:
    """Run a short command and return its output. LabError with its error message if it fails."""
    done = subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, "LC_ALL": "C"})
    if check and done.returncode:
        raise LabError(f"`{' '.join(command)}` failed: {done.stderr.strip() or done.returncode}")
    return done.stdout


def _pins() -> tuple[Path, Path]:
    return layout.mount_namespace(), layout.network_namespace()


def _check_state_folder() -> None:
    for hidden in layout.SHADOWED:
        if paths.state().is_relative_to(hidden) or paths.cache().is_relative_to(hidden):
            raise LabError(
                f"{paths.state()} and {paths.cache()} must not be in {hidden}, because the lab's node has its "
                f"own {hidden}; set LAB_STATE and LAB_CACHE to folders elsewhere"
            )


def _make_namespaces() -> None:
    folder = layout.mount_namespace().parent
    folder.mkdir(parents=True, exist_ok=True)
    # A mount namespace can be mounted only where mounts do not propagate.
    run("mount", "--bind", str(folder), str(folder))
    run("mount", "--make-private", str(folder))
    mounts, network = _pins()
    for pin in (mounts, network):
        pin.touch()
    run("unshare", f"--mount={mounts}", f"--net={network}", "--propagation=private", "true")
    run(*prefix(), "sh", "-euc", _mounts_script())


def _mounts_script() -> str:
    tunables = layout.node() / "tunables"
    for name, value in KERNEL_TUNABLES.items():
        (tunables / name).parent.mkdir(parents=True, exist_ok=True)
        (tunables / name).write_text(f"{value}\n")
    for folder in ("lib/volumes", "log"):
        (layout.node() / folder).mkdir(parents=True, exist_ok=True)
    # The node resolves names in the cluster, so pulling from an unreachable registry fails at once, not after minutes.
    # The kubelet's mounts propagate to pods with mountPropagation, and not to the host.
    return (
        "\n".join(f"mount --bind '{tunables / name}' /proc/sys/{name}" for name in KERNEL_TUNABLES)
        + f"""
        mount --bind '{layout.node() / "lib"}' /var/lib
        mount --bind '{layout.node() / "log"}' /var/log
        mount -t tmpfs -o mode=755 tmpfs /run
        mkdir -p /run/lock
        names=$(readlink -m /etc/resolv.conf)
        case $names in /run/*) mkdir -p "${{names%/*}}"; touch "$names";; esac
        [ ! -e "$names" ] || mount --bind '{layout.config() / "resolv.conf"}' "$names"
        mount --make-rshared /
        ip link set lo up
        echo 1 > /proc/sys/net/ipv4/ip_forward
    """
    )


def _linked() -> bool:
    routes = run("ip", "-4", "route", "show", "dev", layout.NAME, check=False)
    return layout.PODS in routes and layout.SERVICES in routes


def _make_link() -> None:
    _check_addresses()
    _remove_link()
    link, end = layout.NAME, ["peer", "name", "eth0", "netns", str(layout.network_namespace())]
    run("ip", "link", "add", link, "type", "veth", *end)
    run("ip", "address", "add", f"{layout.HOST}/{layout.LINK_PREFIX}", "dev", link)
    run("ip", "link", "set", link, "up")
    inside = (
        f"ip address add {layout.NODE}/{layout.LINK_PREFIX} dev eth0",
        "ip link set eth0 up",
        f"ip route add default via {layout.HOST}",
    )
    run(*prefix(), "sh", "-euc", "\n".join(inside))
    for network in (layout.PODS, layout.SERVICES):
        run("ip", "route", "add", network, "via", layout.NODE, "dev", link)


def _has_link() -> bool:
    # /sys/class/net may show another network namespace, that of the process which mounted it.
    return layout.NAME in {name for _, name in socket.if_nameindex()}


def _remove_link() -> None:
    """Delete the link. The kernel may still list it for a moment while its namespace ends."""

    def gone() -> bool:
        if _has_link():
            run("ip", "link", "delete", layout.NAME, check=False)
        return not _has_link()

    if not _until(STOP_SECONDS, gone):
        raise LabError(f"the network link {layout.NAME} cannot be deleted; run: ip link delete {layout.NAME}")


def _check_addresses() -> None:
    for network in (f"{layout.HOST}/{layout.LINK_PREFIX}", layout.PODS, layout.SERVICES):
        command = ["ip", "-4", "route", "show", "root", network, "scope"]
        routes = run(*command, "global", check=False) + run(*command, "link", check=False)
        others = [line for line in routes.splitlines() if f"dev {layout.NAME}" not in line]
        if others:
            raise LabError(
                f"this machine has a route for {network} ({others[0].strip()}), which the lab needs for its cluster; "
                "remove that route, or use another cluster: lab up --context NAME"
            )


def _cgroup_roots() -> list[Path]:
    """Return the hierarchy of cgroup v2, or with v1 the hierarchies of all controllers."""
    if (CGROUPS / "cgroup.procs").exists():
        return [CGROUPS]
    return [path for path in sorted(CGROUPS.iterdir()) if not path.is_symlink() and (path / "cgroup.procs").exists()]


def _make_cgroup(cgroup: Path) -> None:
    cgroup.mkdir(exist_ok=True)
    for setting in ("cpuset.cpus", "cpuset.mems"):
        # A new cpuset of v1 is empty, so no process could run in it.
        if (cgroup / setting).exists() and not (cgroup / setting).read_text().strip():
            (cgroup / setting).write_text((cgroup.parent / setting).read_text())
    if (control := cgroup / "cgroup.subtree_control").exists():
        controllers = (cgroup.parent / "cgroup.controllers").read_text().split()
        for name in {"cpu", "cpuset", "memory", "pids", "io"} & set(controllers):
            (cgroup.parent / "cgroup.subtree_control").write_text(f"+{name}")
            control.write_text(f"+{name}")


def _remove_cgroup(cgroup: Path) -> None:
    """Remove a cgroup. The kernel empties it shortly after its last process has ended."""

    def gone() -> bool:
        with contextlib.suppress(OSError):
            cgroup.rmdir()
        return not cgroup.exists()

    _until(2, gone)


def _contained() -> set[int]:
    """Return the pids below the node's cgroup."""
    found = set[int]()
    for group in [group for root in _cgroup_roots() for group in _tree(root / layout.NAME)]:
        with contextlib.suppress(OSError):
            found |= {int(line) for line in (group / "cgroup.procs").read_text().split()}
    return found


def _tree(cgroup: Path) -> list[Path]:
    """Return a cgroup and all cgroups below it, the innermost first."""
    return [Path(folder) for folder, _, _ in os.walk(cgroup, topdown=False)]


def _end_processes() -> None:
    """End all processes. Containers get SIGTERM first, as in a deleted pod, so that Postgres shuts down cleanly."""
    _signal_all(_contained(), signal.SIGTERM)
    _until(STOP_SECONDS, lambda: not _contained())
    _until(STOP_SECONDS, lambda: not _signal_all(inhabitants(), signal.SIGKILL))


def _signal_all(pids: Iterable[int], number: signal.Signals) -> list[int]:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)
    return list(pids)


def _until(seconds: float, condition: Callable[[], bool]) -> bool:
    """Wait until the condition is true, and return False if it is not true in time."""
    end = time.monotonic() + seconds
    while not (holds := condition()) and time.monotonic() < end:
        time.sleep(0.05)
    return holds


def _pinned(pin: Path) -> bool:
    """Return True if a namespace is mounted on the file: namespaces have a file system of their own."""
    return pin.exists() and pin.stat().st_dev == Path("/proc/self/ns/net").stat().st_dev


def _is_mount(path: Path) -> bool:
    escaped = str(path).replace("\\", "\\134").replace(" ", "\\040")
    return any(line.split()[4] == escaped for line in Path("/proc/self/mountinfo").read_text().splitlines())
