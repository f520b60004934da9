"""Catalog of the programs that the lab runs, with their sources.

Most are packages of one Go module, `module/`, so a package that several of them import has one version and is compiled
once. The official Kubernetes plugin and the Python language host need older versions of Pulumi's libraries, the add-ons
newer ones of Kubernetes.
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
"""Build tags of every program; with equal tags they share compiled packages."""
VERSIONS = {
    "github.com/pulumi/pulumi/sdk/v3/go/common/version.Version": f"v{PULUMI}",
    f"{PLUGIN}/pkg/version.Version": KUBERNETES_PLUGIN,
    "k8s.io/component-base/version.gitVersion": f"v{KUBERNETES}",
    "k8s.io/component-base/version.gitMajor": "1",
    "k8s.io/component-base/version.gitMinor": "35",
}
"""Go variables that the linker sets. A program ignores those of packages that it does not import."""
PLUGIN_MODULE = HERE / "kubernetes_plugin"
EMBEDDED = {
    f"pulumi-resource-kubernetes/{name}": (PLUGIN, f"cmd/pulumi-resource-kubernetes/{name}")
    for name in ("schema.json", "terraform-mapping.json")
}
"""File that a package in PLUGIN_MODULE embeds -> (Go module, file in there). The compiler reads them in that module."""


@dataclass(frozen=True, kw_only=True)
class OnPath:
    """Programs of the system that replace a build if all are on PATH and the first one has an allowed version."""

    commands: tuple[str, ...]
    version_arguments: tuple[str, ...]
    """Arguments that make the first program print its version."""
    minimum: tuple[int, ...]
    """Oldest allowed version of the first program."""
    below: tuple[int, ...] = (sys.maxsize,)
    """First version of the first program that is too new."""


@dataclass(frozen=True, kw_only=True)
class Build:
    """Commands that are built together into one folder of the cache."""

    name: str
    module: Path = MODULE
    """Folder with go.mod and go.sum."""
    packages: dict[str, str]
    """Command -> Go package."""
    aliases: dict[str, str] = field(default_factory=dict[str, str])
    """Link -> command of this build. The program takes its role from the name by which it is called."""
    files: dict[str, tuple[str, str]] = field(default_factory=dict[str, tuple[str, str]])
    """Command -> (Go module, path of a script in it)."""
    instead: OnPath | None = None
    """Programs of the system that replace the build."""

    @property
    def commands(self) -> tuple[str, ...]:
        """Names of all commands of the build."""
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
    # sdk v3.68.0 is the last version of the Go module with the language host; newer engines support its protocol.
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
    Build(
        name="prometheus",
        module=HERE / "prometheus",
        packages=_below("github.com/prometheus/prometheus/cmd", "prometheus", "promtool"),
    ),
    Build(
        name="prometheus-adapter",
        # A module of its own: no release of the adapter compiles with newer libraries of Kubernetes.
        module=HERE / "adapter",
        packages={"prometheus-adapter": "sigs.k8s.io/prometheus-adapter/cmd/adapter"},
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
    "monitoring": ("prometheus", "prometheus-adapter"),
}
"""Groups of builds, for `lab tools --only NAME`."""

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
