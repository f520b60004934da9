"""Components of the cluster. Each has a file in `components/`: process, certificates, configuration, rights.

In these files, `$HOST` and other upper-case names are constants of `layout.py`; `$pki`, `$config` and others are
folders of this lab.
"""

import base64
import hashlib
import http.client
import json
import ssl
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from string import Template
from typing import Any
from urllib.parse import urlsplit

import yaml

from lab import paths
from lab.cluster import layout

HERE = Path(__file__).parent
STORES = ("etcd", "containerd")
"""Components that store objects and containers, and do not use the API server."""
APISERVER = "kube-apiserver"
CLIENTS = (
    "kube-controller-manager",
    "kube-scheduler",
    "kube-network-policies",
    "kubelet",
    "kube-proxy",
    "coredns",
    "metrics-server",
    "kwok",
    "agent",
)
"""Components that use the API server. They have rights only after the lab's objects are applied."""
Object = dict[str, Any]
"""Kubernetes object as JSON."""


@dataclass(frozen=True, kw_only=True)
class Certificate:
    """Certificate with its key, `<name>.crt` and `<name>.key` in the folder of keys."""

    name: str
    user: str
    """Kubernetes user that the certificate stands for."""
    group: str = layout.NAME
    """Kubernetes group of the certificate's user."""
    addresses: Sequence[str] = ()
    """IP addresses and DNS names of the server that uses the certificate; empty for a client."""
    authority: str = "ca"
    """Authority that issues the certificate."""


@dataclass(frozen=True, kw_only=True)
class Component:
    """Process of the cluster, as its file describes it."""

    name: str
    """Name of the process, and of its program unless `command` is set."""
    flags: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """Flags of the program."""
    command: Sequence[str] = ()
    """Command line instead of the program with its flags."""
    in_node: bool = False
    """Whether the process runs in the node's namespaces instead of the host's."""
    setup: str = ""
    """Shell script that prepares the node before the process starts. It may run many times."""
    environment: Mapping[str, str] = field(default_factory=dict[str, str])
    """Further environment variables of the process."""
    probe: str = ""
    """URL, socket or queue that is ready when the process works; without one, a running process counts as ready."""
    certificates: Sequence[Certificate] = ()
    """Certificates that the process needs."""
    files: Mapping[str, str | Object] = field(default_factory=dict[str, str | Object])
    """Configuration files, by name in the configuration folder."""
    sources: Sequence[str] = ()
    """Other files that the process reads at its start."""
    user: str = ""
    """Kubernetes user of the process."""
    rights: Sequence[Object] = ()
    """RBAC rules of the process's Kubernetes user in the whole cluster."""
    objects: Sequence[Object] = ()
    """Objects that the process needs in the cluster."""

    @property
    def arguments(self) -> list[str]:
        """Command line of the process."""
        program = str(paths.binaries() / self.name)
        return list(self.command) or [program, *(f"--{flag}={text(value)}" for flag, value in self.flags.items())]

    @property
    def log(self) -> Path:
        """File of the process's output. The oldest part of a long log is removed when the process starts."""
        return paths.logs() / f"{self.name}.log"

    def fingerprint(self) -> str:
        """Return a hash of everything after whose change the process must be restarted."""
        digest = hashlib.sha256(repr((self.arguments, self.in_node, self.setup, self.environment)).encode())
        digest.update(str(Path(self.arguments[0]).resolve()).encode())
        certificates = sorted({name for each in self.certificates for name in (each.name, each.authority)})
        configuration = [layout.config() / name for name in self.files]
        for file in [*map(crt, certificates), *configuration, *map(Path, self.sources)]:
            digest.update(file.read_bytes() if file.exists() else b"")
        return digest.hexdigest()

    def access(self) -> Sequence[Object]:
        """Return the ClusterRole with the process's rights and the binding to its user; nothing without rights."""
        rbac, user = "rbac.authorization.k8s.io", {"metadata": {"name": self.user}}
        role = {"apiVersion": f"{rbac}/v1", "kind": "ClusterRole", **user, "rules": self.rights}
        binding = {
            "apiVersion": f"{rbac}/v1",
            "kind": "ClusterRoleBinding",
            **user,
            "roleRef": {"apiGroup": rbac, "kind": "ClusterRole", "name": self.user},
            "subjects": [{"apiGroup": rbac, "kind": "User", "name": self.user}],
        }
        return [role, binding] if self.rights else []


def load(*names: str) -> list[Component]:
    """Return the named components; without names all of them, in the order of their start."""
    return [_load(name) for name in names or (*STORES, APISERVER, *CLIENTS)]


def _load(name: str) -> Component:
    authority = crt("ca")
    values = {
        **{name: value for name, value in vars(layout).items() if name.isupper()},
        "here": HERE,
        "python": sys.executable,
        "bin": paths.binaries(),
        "state": paths.state(),
        "cluster": paths.cluster(),
        "pki": layout.pki(),
        "config": layout.config(),
        "ca_bundle": base64.b64encode(authority.read_bytes()).decode() if authority.exists() else "",
    }
    described = Template((HERE / "components" / f"{name}.yaml").read_text()).substitute(values)
    content = yaml.load(described, yaml.CSafeLoader)
    return Component(**content | {"certificates": [Certificate(**each) for each in content.get("certificates", ())]})


def text(content: object) -> str:
    """Return a text unchanged, and any other value as JSON."""
    return content if isinstance(content, str) else json.dumps(content)


def crt(name: str) -> Path:
    """Return the file of a certificate."""
    return layout.pki() / f"{name}.crt"


def key(name: str) -> Path:
    """Return the file of a certificate's private key."""
    return layout.pki() / f"{name}.key"


def connection(url: str, identity: str = "admin", timeout: float = 2) -> http.client.HTTPConnection:
    """Return a connection to the host of a URL, for https with the client certificate `identity`."""
    where = urlsplit(url)
    if where.scheme == "https":
        return http.client.HTTPSConnection(where.netloc, timeout=timeout, context=_tls(crt("ca"), crt(identity)))
    return http.client.HTTPConnection(where.netloc, timeout=timeout)


@cache
def _tls(authority: Path, certificate: Path) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=authority)
    context.load_cert_chain(certificate, certificate.with_suffix(".key"))
    return context
