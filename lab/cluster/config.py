"""Configuration files of the components."""

import base64
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lab import paths
from lab.cluster import layout

IDENTITIES = (
    "kube-controller-manager",
    "kube-scheduler",
    "kubelet",
    "kube-proxy",
    "coredns",
    "metrics-server",
    "kwok",
)


def write() -> None:
    """Every configuration file is as this version of the lab wants it; a file that is so already is not touched."""
    layout.config().mkdir(parents=True, exist_ok=True)
    for name, content in _files().items():
        _write(layout.config() / name, content)
    for identity in IDENTITIES:
        _write(kubeconfig(identity), json.dumps(_kubeconfig(identity)))
    _write(paths.kubeconfig(), json.dumps(_kubeconfig("admin"), indent=2))


def kubeconfig(identity: str) -> Path:
    """Access of one component."""
    return layout.config() / f"{identity}.kubeconfig"


def _files() -> Mapping[str, str]:
    return {
        "admission.yaml": json.dumps(_admission()),
        "kubelet.yaml": json.dumps(_kubelet()),
        "kube-proxy.yaml": json.dumps(_kube_proxy()),
        "containerd.toml": _containerd(),
        "Corefile": _corefile(),
        "resolv.conf": f"nameserver {layout.NODE}\n",
        "cni/10-lab.conflist": json.dumps(_cni()),
    }


def _admission() -> dict[str, Any]:
    """A namespace that says nothing of Pod Security gets `baseline`, and warnings for what `restricted` forbids."""
    return {
        "apiVersion": "apiserver.config.k8s.io/v1",
        "kind": "AdmissionConfiguration",
        "plugins": [
            {
                "name": "PodSecurity",
                "configuration": {
                    "apiVersion": "pod-security.admission.config.k8s.io/v1",
                    "kind": "PodSecurityConfiguration",
                    "defaults": {
                        "enforce": "baseline",
                        "enforce-version": "latest",
                        "audit": "restricted",
                        "audit-version": "latest",
                        "warn": "restricted",
                        "warn-version": "latest",
                    },
                    "exemptions": {"namespaces": ["kube-system"]},
                },
            }
        ],
    }


def _kubelet() -> dict[str, Any]:
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "address": layout.NODE,
        "readOnlyPort": 0,
        "healthzBindAddress": layout.NODE,
        "healthzPort": layout.KUBELET_HEALTH_PORT,
        "authentication": {
            "anonymous": {"enabled": False},
            "webhook": {"enabled": True},
            "x509": {"clientCAFile": str(layout.pki() / "ca.crt")},
        },
        "authorization": {"mode": "Webhook"},
        "tlsCertFile": str(layout.pki() / "kubelet-serving.crt"),
        "tlsPrivateKeyFile": str(layout.pki() / "kubelet-serving.key"),
        "clusterDNS": [layout.NODE],
        "clusterDomain": layout.DNS_DOMAIN,
        "resolvConf": str(layout.config() / "resolv.conf"),
        "containerRuntimeEndpoint": "unix:///run/containerd/containerd.sock",
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": f"/{layout.NAME}",
        "failCgroupV1": False,
        "failSwapOn": False,
        # Without CAP_SYS_RESOURCE, as in many containers and virtual machines, a lower score is refused.
        "oomScoreAdj": 0,
        "maxOpenFiles": 20000,
        "evictionHard": {
            "memory.available": "200Mi",
            "nodefs.available": "2%",
            "nodefs.inodesFree": "1%",
            "imagefs.available": "2%",
        },
        # Images are loaded by hand and are in no registry: one that was cleared away would not come back.
        "imageGCHighThresholdPercent": 100,
        "imageMaximumGCAge": "0s",
        "shutdownGracePeriod": "0s",
    }


def _kube_proxy() -> dict[str, Any]:
    return {
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "clientConnection": {"kubeconfig": str(kubeconfig("kube-proxy"))},
        "hostnameOverride": layout.CPU_NODE,
        "mode": "iptables",
        "clusterCIDR": layout.PODS,
        "oomScoreAdj": 0,
        "healthzBindAddress": f"{layout.NODE}:{layout.PROXY_HEALTH_PORT}",
        "metricsBindAddress": "127.0.0.1:10249",
        # The limits of connection tracking belong to the whole machine.
        "conntrack": {"maxPerCore": 0, "min": 0, "tcpEstablishedTimeout": "0s", "tcpCloseWaitTimeout": "0s"},
    }


def _cni() -> dict[str, Any]:
    return {
        "cniVersion": "1.0.0",
        "name": layout.NAME,
        "plugins": [
            {
                "type": "ptp",
                "ipMasq": False,
                "ipam": {
                    "type": "host-local",
                    "ranges": [[{"subnet": layout.PODS}]],
                    "routes": [{"dst": "0.0.0.0/0"}],
                    "dataDir": "/run/cni",
                },
            },
            {"type": "portmap", "capabilities": {"portMappings": True}},
        ],
    }


def _containerd() -> str:
    """Folders are containerd's defaults: the node has its own /run and /var/lib."""
    return f"""\
version = 3
[plugins.'io.containerd.cri.v1.images'.pinned_images]
  sandbox = '{layout.PAUSE_IMAGE}'
[plugins.'io.containerd.cri.v1.runtime']
  restrict_oom_score_adj = true
  netns_mounts_under_state_dir = true
  [plugins.'io.containerd.cri.v1.runtime'.cni]
    bin_dirs = ['{paths.binaries()}']
    conf_dir = '{layout.config() / "cni"}'
  [plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc]
    runtime_type = 'io.containerd.runc.v2'
    [plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc.options]
      SystemdCgroup = false
[plugins.'io.containerd.grpc.v1.cri']
  stream_server_address = '127.0.0.1'
"""


def _corefile() -> str:
    """The node's link leads to the host only, so the cluster's own names are all that can be answered."""
    return f"""\
.:53 {{
    bind {layout.NODE}
    health {layout.NODE}:{layout.DNS_HEALTH_PORT}
    errors
    cache 5
    loadbalance
    kubernetes {layout.DNS_DOMAIN} in-addr.arpa {{
        kubeconfig {kubeconfig("coredns")}
        pods insecure
        ttl 5
    }}
}}
"""


def _kubeconfig(identity: str) -> dict[str, Any]:
    """Certificates are inside, so that the file can be carried elsewhere."""
    data = {
        "ca": base64.b64encode((layout.pki() / "ca.crt").read_bytes()).decode(),
        "crt": base64.b64encode((layout.pki() / f"{identity}.crt").read_bytes()).decode(),
        "key": base64.b64encode((layout.pki() / f"{identity}.key").read_bytes()).decode(),
    }
    server = f"https://{layout.HOST}:{layout.API_PORT}"
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [
            {"name": layout.NAME, "cluster": {"server": server, "certificate-authority-data": data["ca"]}},
        ],
        "users": [
            {
                "name": f"{layout.NAME}-{identity}",
                "user": {"client-certificate-data": data["crt"], "client-key-data": data["key"]},
            },
        ],
        "contexts": [
            {"name": layout.NAME, "context": {"cluster": layout.NAME, "user": f"{layout.NAME}-{identity}"}},
        ],
        "current-context": layout.NAME,
    }


def _write(path: Path, content: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.exists() and path.read_text() == content:
        return
    fresh = path.with_name(f".{path.name}")
    fresh.touch(mode=0o600)
    fresh.write_text(content)
    fresh.replace(path)
