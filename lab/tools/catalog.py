"""Which programs the lab needs, and from where each comes.

A Go module is a folder of `modules/` with a go.mod that pins it and all it stands on. Times and sizes were measured
with empty caches on 2 cores; they feed the estimate and the check of free disk.
"""

import sys
from dataclasses import dataclass, field
from pathlib import Path

MODULES = Path(__file__).parent / "modules"
KUBERNETES = "1.35.4"
KUBERNETES_VERSION = {
    "k8s.io/component-base/version.gitVersion": f"v{KUBERNETES}",
    "k8s.io/component-base/version.gitMajor": "1",
    "k8s.io/component-base/version.gitMinor": "35",
}
PULUMI = "3.259.0"


@dataclass(frozen=True, kw_only=True)
class OnPath:
    """When programs of the system stand in for a module: all on PATH, the first new enough and not too new."""

    commands: tuple[str, ...]
    version_arguments: tuple[str, ...]
    minimum: tuple[int, ...]
    below: tuple[int, ...] = (sys.maxsize,)


@dataclass(frozen=True, kw_only=True)
class Module:
    """A pinned Go module and the commands made from it."""

    name: str
    source: str = ""
    """The folder of `modules/` with its go.mod, where that is not named as the module."""
    packages: dict[str, str]
    """Command -> Go package."""
    aliases: dict[str, str] = field(default_factory=dict[str, str])
    """Command -> another command of this module, which looks at the name it is called by."""
    files: dict[str, tuple[str, str]] = field(default_factory=dict[str, tuple[str, str]])
    """Command -> (module it stands on, path of a script in there)."""
    tags: str = ""
    variables: dict[str, str] = field(default_factory=dict[str, str])
    """Set by the linker, such as a version that the sources do not hold."""
    cold_seconds: int
    disk_mib: int
    """Sources, compiled packages and binaries."""
    instead: OnPath | None = None

    @property
    def folder(self) -> Path:
        """Holds go.mod, go.sum and what we wrote in Go."""
        return MODULES / (self.source or self.name)

    @property
    def commands(self) -> tuple[str, ...]:
        """All that `bin/` gets from this module."""
        return (*self.packages, *self.aliases, *self.files)


def _below(prefix: str, *commands: str) -> dict[str, str]:
    return {command.rsplit("/")[-1]: f"{prefix}/{command}" for command in commands}


PULUMI_ENGINE = Module(
    name="pulumi",
    packages={"pulumi": "github.com/pulumi/pulumi/pkg/v3/cmd/pulumi"},
    files={
        "pulumi-language-python-exec": ("github.com/pulumi/pulumi/sdk/v3", "python/cmd/pulumi-language-python-exec"),
    },
    tags="osusergo,grpcnotrace",
    variables={"github.com/pulumi/pulumi/sdk/v3/go/common/version.Version": f"v{PULUMI}"},
    cold_seconds=390,
    disk_mib=4200,
    instead=OnPath(
        commands=("pulumi", "pulumi-language-python", "pulumi-language-python-exec"),
        version_arguments=("version",),
        minimum=(3, 259),
    ),
)
PULUMI_PYTHON = Module(
    name="pulumi-python",
    # The last version of the module that still holds the language host; the engine speaks the same protocol to it.
    packages={"pulumi-language-python": "github.com/pulumi/pulumi/sdk/v3/python/cmd/pulumi-language-python"},
    cold_seconds=50,
    disk_mib=500,
    instead=PULUMI_ENGINE.instead,
)
KUBE = Module(
    name="kube",
    packages={
        "kube": "./kube",
        "etcd": "go.etcd.io/etcd/server/v3",
        "coredns": "./coredns",
        "pause": "./pause",
    },
    aliases=dict.fromkeys(
        ("kube-apiserver", "kube-controller-manager", "kube-scheduler", "kube-proxy", "kubelet"), "kube"
    ),
    variables=KUBERNETES_VERSION,
    cold_seconds=540,
    disk_mib=3600,
)
KUBECTL = Module(
    name="kubectl",
    source="kube",
    # Apart from `kube`: all that a cluster of the user's needs, and a user often has it already.
    packages={"kubectl": "k8s.io/kubernetes/cmd/kubectl"},
    variables=KUBERNETES_VERSION,
    cold_seconds=120,
    disk_mib=900,
    # One minor version to either side is what Kubernetes supports.
    instead=OnPath(commands=("kubectl",), version_arguments=("version", "--client"), minimum=(1, 34), below=(1, 37)),
)
ADDONS = Module(
    name="addons",
    # Apart from `kube`: these releases need the libraries of Kubernetes 1.36.
    packages=_below("sigs.k8s.io", "metrics-server/cmd/metrics-server", "kwok/cmd/kwok"),
    cold_seconds=190,
    disk_mib=1400,
)
CONTAINERD = Module(
    name="containerd",
    packages=_below("github.com/containerd/containerd/v2/cmd", "containerd", "containerd-shim-runc-v2", "ctr"),
    tags="no_btrfs,no_devmapper,no_zfs",
    cold_seconds=90,
    disk_mib=800,
    instead=OnPath(
        commands=("containerd", "containerd-shim-runc-v2", "ctr"), version_arguments=("--version",), minimum=(2, 2)
    ),
)
CNI = Module(
    name="cni",
    packages=_below(
        "github.com/containernetworking/plugins/plugins", "main/ptp", "main/loopback", "meta/portmap", "ipam/host-local"
    ),
    cold_seconds=15,
    disk_mib=150,
)
S3_GATEWAY = Module(
    name="versitygw",
    packages={"versitygw": "github.com/versity/versitygw/cmd/versitygw"},
    cold_seconds=75,
    disk_mib=900,
)

MODULES_IN_ORDER = (PULUMI_ENGINE, PULUMI_PYTHON, KUBE, KUBECTL, ADDONS, CONTAINERD, CNI, S3_GATEWAY)
CATALOG = {module.name: module for module in MODULES_IN_ORDER}
GROUPS = {
    "pulumi": ("pulumi", "pulumi-python"),
    "cluster": ("kube", "kubectl", "addons", "containerd", "cni"),
    "images": ("versitygw",),
}
"""What `lab tools --only NAME` takes besides the name of a module."""

APT_PACKAGES = {
    "runc": "runc",
    "iptables": "iptables",
    "conntrack": "conntrack",
    "buildah": "buildah",
    "mmdebstrap": "mmdebstrap",
    "nsenter": "util-linux",
    "ip": "iproute2",
    "mount": "mount",
}
"""Command -> Debian package."""
