"""Which programs the lab runs, and where each comes from.

Most are packages of one Go module, `module/`: what several of them import has one version and is compiled once. The
official Kubernetes plugin and the Python language host need older versions of Pulumi's libraries, the add-ons newer
ones of Kubernetes.
"""

import sys
from dataclasses import dataclass, field
from pathlib import Path

HERE = Path(__file__).parent
MODULE = HERE / "module"
PULUMI = "3.259.0"
KUBERNETES = "1.35.4"
KUBERNETES_PLUGIN = "4.25.0"
"""Version of the official plugin, and of the Python SDK pulumi-kubernetes in the lock."""
PLUGIN = "github.com/pulumi/pulumi-kubernetes/provider/v4"

TAGS = "grpcnotrace,no_btrfs,no_devmapper,no_zfs,osusergo"
"""Build tags for every program: with equal tags they share compiled packages."""
VERSIONS = {
    "github.com/pulumi/pulumi/sdk/v3/go/common/version.Version": f"v{PULUMI}",
    f"{PLUGIN}/pkg/version.Version": KUBERNETES_PLUGIN,
    "k8s.io/component-base/version.gitVersion": f"v{KUBERNETES}",
    "k8s.io/component-base/version.gitMajor": "1",
    "k8s.io/component-base/version.gitMinor": "35",
}
"""Go variables that the linker sets; a program ignores those of packages that it does not import."""
PLUGIN_MODULE = HERE / "kubernetes_plugin"
EMBEDDED = {
    f"pulumi-resource-kubernetes/{name}": (PLUGIN, f"cmd/pulumi-resource-kubernetes/{name}")
    for name in ("schema.json", "terraform-mapping.json")
}
"""File that a package in PLUGIN_MODULE embeds -> (Go module, file in there). The compiler reads them where they lie."""


@dataclass(frozen=True, kw_only=True)
class OnPath:
    """Programs of the system that replace a build: all on PATH, the first one with a version in [minimum, below)."""

    commands: tuple[str, ...]
    version_arguments: tuple[str, ...]
    minimum: tuple[int, ...]
    below: tuple[int, ...] = (sys.maxsize,)


@dataclass(frozen=True, kw_only=True)
class Build:
    """Commands that are built together into one folder of the cache."""

    name: str
    module: Path = MODULE
    """Folder with go.mod and go.sum."""
    packages: dict[str, str]
    """Command -> Go package."""
    aliases: dict[str, str] = field(default_factory=dict[str, str])
    """Command -> command of this build. The program takes its role from the name it is called by."""
    files: dict[str, tuple[str, str]] = field(default_factory=dict[str, tuple[str, str]])
    """Command -> (Go module, script in there)."""
    instead: OnPath | None = None

    @property
    def commands(self) -> tuple[str, ...]:
        """Names of all commands that the build makes."""
        return (*self.packages, *self.aliases, *self.files)


def _below(prefix: str, *commands: str) -> dict[str, str]:
    return {command.rsplit("/")[-1]: f"{prefix}/{command}" for command in commands}


ENGINE = Build(
    name="pulumi",
    packages={"pulumi": "github.com/pulumi/pulumi/pkg/v3/cmd/pulumi"},
    files={
        "pulumi-language-python-exec": ("github.com/pulumi/pulumi/sdk/v3", "python/cmd/pulumi-language-python-exec"),
    },
    instead=OnPath(
        commands=("pulumi", "pulumi-language-python", "pulumi-language-python-exec"),
        version_arguments=("version",),
        minimum=(3, 259),
    ),
)
PYTHON_HOST = Build(
    name="pulumi-python",
    # sdk v3.68.0 is the last version of the Go module that holds the language host; newer engines speak its protocol.
    module=HERE / "python_host",
    packages={"pulumi-language-python": "github.com/pulumi/pulumi/sdk/v3/python/cmd/pulumi-language-python"},
    instead=ENGINE.instead,
)
PLUGIN_BUILD = Build(
    name="kubernetes-plugin",
    module=PLUGIN_MODULE,
    packages={"pulumi-resource-kubernetes": "./pulumi-resource-kubernetes"},
)
BUILDS = (
    Build(
        name="kube",
        packages={
            "kube": "./kube",
            "etcd": "go.etcd.io/etcd/server/v3",
            "coredns": "./coredns",
            "pause": "./pause",
            "kube-network-policies": "sigs.k8s.io/kube-network-policies/cmd",
        },
        aliases=dict.fromkeys(
            ("kube-apiserver", "kube-controller-manager", "kube-scheduler", "kube-proxy", "kubelet"), "kube"
        ),
    ),
    Build(
        name="addons",
        module=HERE / "addons",
        packages=_below("sigs.k8s.io", "metrics-server/cmd/metrics-server", "kwok/cmd/kwok"),
    ),
    Build(
        name="containerd",
        packages=_below("github.com/containerd/containerd/v2/cmd", "containerd", "containerd-shim-runc-v2", "ctr"),
        instead=OnPath(
            commands=("containerd", "containerd-shim-runc-v2", "ctr"), version_arguments=("--version",), minimum=(2, 2)
        ),
    ),
    Build(
        name="cni",
        packages=_below(
            "github.com/containernetworking/plugins/plugins",
            "main/ptp", "main/loopback", "meta/portmap", "ipam/host-local",
        ),
    ),
    Build(name="versitygw", packages={"versitygw": "github.com/versity/versitygw/cmd/versitygw"}),
    PLUGIN_BUILD,
    ENGINE,
    PYTHON_HOST,
)  # fmt: skip
CATALOG = {build.name: build for build in BUILDS}
GROUPS = {
    "engine": ("pulumi", "pulumi-python"),
    "cluster": ("kube", "addons", "containerd", "cni"),
    "images": ("versitygw",),
}
"""What `lab tools --only NAME` accepts besides the name of a build."""

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
