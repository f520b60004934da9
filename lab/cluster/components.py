"""The processes of the cluster: what each is told, and how it shows that it works."""

import http.client
import socket
import ssl
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path

from lab import paths
from lab.cluster import layout
from lab.cluster.config import kubeconfig
from lab.cluster.process import Process, running

PROBE_SECONDS = 2.0


def everything() -> list[Process]:
    """In the order of starting."""
    return [*stores(), apiserver(), *clients()]


def stores() -> list[Process]:
    """Where objects and containers are; they need nothing of the cluster."""
    return [etcd(), containerd()]


def clients() -> list[Process]:
    """All that works through the API server, and has rights only once the lab's objects were applied."""
    return [controller_manager(), scheduler(), kubelet(), kube_proxy(), coredns(), metrics_server(), kwok(), agent()]


def etcd() -> Process:
    """Holds the cluster's objects; speaks with the API server alone."""
    client = f"https://{layout.HOST}:{layout.ETCD_PORT}"
    peer = f"https://{layout.HOST}:{layout.ETCD_PEER_PORT}"
    return Process(
        name="etcd",
        command=_command(
            "etcd",
            data_dir=layout.etcd_data(),
            log_level="warn",
            listen_client_urls=client,
            advertise_client_urls=client,
            listen_peer_urls=peer,
            initial_advertise_peer_urls=peer,
            initial_cluster=f"default={peer}",
            cert_file=_crt("etcd"),
            key_file=_key("etcd"),
            trusted_ca_file=_crt("etcd-ca"),
            client_cert_auth="true",
            peer_cert_file=_crt("etcd"),
            peer_key_file=_key("etcd"),
            peer_trusted_ca_file=_crt("etcd-ca"),
            peer_client_cert_auth="true",
            auto_compaction_mode="periodic",
            auto_compaction_retention="1h",
        ),
        ready=_https(layout.HOST, layout.ETCD_PORT, "/health", authority="etcd-ca", identity="apiserver-etcd"),
        files=(_crt("etcd"), _crt("etcd-ca")),
    )


def apiserver() -> Process:
    """The one door to the cluster."""
    return Process(
        name="kube-apiserver",
        command=_command(
            "kube-apiserver",
            bind_address=layout.HOST,
            advertise_address=layout.HOST,
            secure_port=layout.API_PORT,
            etcd_servers=f"https://{layout.HOST}:{layout.ETCD_PORT}",
            etcd_cafile=_crt("etcd-ca"),
            etcd_certfile=_crt("apiserver-etcd"),
            etcd_keyfile=_key("apiserver-etcd"),
            tls_cert_file=_crt("apiserver"),
            tls_private_key_file=_key("apiserver"),
            client_ca_file=_crt("ca"),
            anonymous_auth="false",
            authorization_mode="Node,RBAC",
            enable_admission_plugins="NodeRestriction",
            admission_control_config_file=layout.config() / "admission.yaml",
            allow_privileged="true",
            service_cluster_ip_range=layout.SERVICES,
            service_account_issuer=f"https://kubernetes.default.svc.{layout.DNS_DOMAIN}",
            service_account_key_file=layout.pki() / "service-accounts.pub",
            service_account_signing_key_file=layout.pki() / "service-accounts.key",
            kubelet_certificate_authority=_crt("ca"),
            kubelet_client_certificate=_crt("apiserver-kubelet"),
            kubelet_client_key=_key("apiserver-kubelet"),
            kubelet_preferred_address_types="InternalIP",
            requestheader_client_ca_file=_crt("front-proxy-ca"),
            requestheader_allowed_names="front-proxy-client",
            requestheader_username_headers="X-Remote-User",
            requestheader_group_headers="X-Remote-Group",
            requestheader_extra_headers_prefix="X-Remote-Extra-",
            proxy_client_cert_file=_crt("front-proxy"),
            proxy_client_key_file=_key("front-proxy"),
            # The Service of the metrics server has its endpoint on the host, where no kube-proxy looks after it.
            enable_aggregator_routing="true",
            profiling="false",
        ),
        ready=_https(layout.HOST, layout.API_PORT, "/readyz"),
        files=(
            *(_crt(name) for name in ("ca", "etcd-ca", "front-proxy-ca", "apiserver", "apiserver-etcd")),
            *(_crt(name) for name in ("apiserver-kubelet", "front-proxy")),
            layout.config() / "admission.yaml",
        ),
    )


def controller_manager() -> Process:
    """Turns Deployments into pods, pods into endpoints, and the like."""
    access = kubeconfig("kube-controller-manager")
    return Process(
        name="kube-controller-manager",
        command=_command(
            "kube-controller-manager",
            kubeconfig=access,
            authentication_kubeconfig=access,
            authorization_kubeconfig=access,
            bind_address=layout.HOST,
            secure_port=layout.MANAGER_PORT,
            tls_cert_file=_crt("control-plane"),
            tls_private_key_file=_key("control-plane"),
            leader_elect="false",
            use_service_account_credentials="true",
            root_ca_file=_crt("ca"),
            service_account_private_key_file=layout.pki() / "service-accounts.key",
            cluster_signing_cert_file=_crt("ca"),
            cluster_signing_key_file=_key("ca"),
            # A person who watches a lab waits for the autoscaler; a real cluster's 15 s are for thousands of pods.
            horizontal_pod_autoscaler_sync_period="5s",
            profiling="false",
        ),
        ready=_https(layout.HOST, layout.MANAGER_PORT, "/healthz"),
        files=(access, _crt("control-plane"), _crt("ca")),
    )


def scheduler() -> Process:
    """Gives pods their node."""
    access = kubeconfig("kube-scheduler")
    return Process(
        name="kube-scheduler",
        command=_command(
            "kube-scheduler",
            kubeconfig=access,
            authentication_kubeconfig=access,
            authorization_kubeconfig=access,
            bind_address=layout.HOST,
            secure_port=layout.SCHEDULER_PORT,
            tls_cert_file=_crt("control-plane"),
            tls_private_key_file=_key("control-plane"),
            leader_elect="false",
            profiling="false",
        ),
        ready=_https(layout.HOST, layout.SCHEDULER_PORT, "/healthz"),
        files=(access, _crt("control-plane")),
    )


def containerd() -> Process:
    """Runs containers; they go on when it ends, and it finds them again."""
    config = layout.config() / "containerd.toml"
    return Process(
        name="containerd",
        command=_command("containerd", config=config),
        ready=_containerd_answers,
        files=(config, layout.config() / "cni" / "10-lab.conflist"),
        in_node=True,
    )


def kubelet() -> Process:
    """Makes of this machine a node."""
    config, access = layout.config() / "kubelet.yaml", kubeconfig("kubelet")
    return Process(
        name="kubelet",
        command=_command(
            "kubelet",
            config=config,
            kubeconfig=access,
            hostname_override=layout.CPU_NODE,
            node_ip=layout.NODE,
            node_labels=f"{layout.POOL_LABEL}=cpu",
        ),
        ready=_http(layout.NODE, layout.KUBELET_HEALTH_PORT, "/healthz"),
        files=(config, access, _crt("kubelet-serving"), _crt("ca")),
        in_node=True,
    )


def kube_proxy() -> Process:
    """Leads Service addresses to pods, with firewall rules of the node's namespace."""
    config, access = layout.config() / "kube-proxy.yaml", kubeconfig("kube-proxy")
    return Process(
        name="kube-proxy",
        command=_command("kube-proxy", config=config),
        ready=_http(layout.NODE, layout.PROXY_HEALTH_PORT, "/healthz"),
        files=(config, access),
        in_node=True,
    )


def coredns() -> Process:
    """Answers for the names of Services."""
    corefile = layout.config() / "Corefile"
    return Process(
        name="coredns",
        command=(str(paths.binaries() / "coredns"), "-conf", str(corefile)),
        ready=_http(layout.NODE, layout.DNS_HEALTH_PORT, "/health"),
        files=(corefile, kubeconfig("coredns")),
        in_node=True,
    )


def metrics_server() -> Process:
    """Measures pods and nodes for `kubectl top` and the autoscaler."""
    access = kubeconfig("metrics-server")
    return Process(
        name="metrics-server",
        command=_command(
            "metrics-server",
            kubeconfig=access,
            authentication_kubeconfig=access,
            authorization_kubeconfig=access,
            bind_address=layout.HOST,
            secure_port=layout.METRICS_PORT,
            tls_cert_file=_crt("metrics-serving"),
            tls_private_key_file=_key("metrics-serving"),
            kubelet_certificate_authority=_crt("ca"),
            kubelet_preferred_address_types="InternalIP",
            # The simulated node has no kubelet to ask.
            node_selector="type!=kwok",
            metric_resolution="10s",
            kubelet_request_timeout="5s",
        ),
        ready=_https(layout.HOST, layout.METRICS_PORT, "/livez"),
        files=(access, _crt("metrics-serving")),
    )


def kwok() -> Process:
    """Plays the kubelet of the simulated node: keeps it Ready and lets its pods seem to run."""
    access, stages = kubeconfig("kwok"), Path(__file__).parent / "stages.yaml"
    return Process(
        name="kwok",
        command=_command(
            "kwok",
            kubeconfig=access,
            config=stages,
            node_lease_duration_seconds=40,
            manage_nodes_with_label_selector="type=kwok",
            server_address=f"{layout.HOST}:{layout.KWOK_PORT}",
            node_ip=layout.HOST,
        ),
        ready=_http(layout.HOST, layout.KWOK_PORT, "/healthz"),
        files=(access, stages),
    )


def agent() -> Process:
    """The lab's own: makes persistent volumes, and leads ports of 127.0.0.1 to Services."""
    here = Path(__file__).parent
    sources = (here / f"{name}.py" for name in ("agent", "forward", "volumes", "api", "layout", "process"))
    return Process(
        name="agent",
        # The state's folder makes it this lab's: a process without a record is known by its command.
        command=(sys.executable, "-m", "lab.cluster.agent", str(paths.state())),
        ready=lambda: running("agent") is not None,
        files=(_crt("agent"), _crt("ca"), *sources),
    )


def _command(name: str, **flags: object) -> tuple[str, ...]:
    return (
        str(paths.binaries() / name),
        *(f"--{flag.replace('_', '-')}={value}" for flag, value in flags.items()),
    )


def _crt(name: str) -> Path:
    return layout.pki() / f"{name}.crt"


def _key(name: str) -> Path:
    return layout.pki() / f"{name}.key"


@cache
def _context(authority: str, identity: str) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=_crt(authority))
    context.load_cert_chain(_crt(identity), _key(identity))
    return context


def _https(host: str, port: int, path: str, *, authority: str = "ca", identity: str = "admin") -> Callable[[], bool]:
    return lambda: _answers(
        lambda: http.client.HTTPSConnection(host, port, context=_context(authority, identity), timeout=PROBE_SECONDS),
        path,
    )


def _http(host: str, port: int, path: str) -> Callable[[], bool]:
    return lambda: _answers(lambda: http.client.HTTPConnection(host, port, timeout=PROBE_SECONDS), path)


def _answers(connect: Callable[[], http.client.HTTPConnection], path: str) -> bool:
    connection = connect()
    try:
        connection.request("GET", path)
        return connection.getresponse().status == http.client.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _containerd_answers() -> bool:
    """Its socket is on the node's /run, which the host sees through the process."""
    found = running("containerd")
    if not found:
        return False
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(PROBE_SECONDS)
        try:
            client.connect(f"/proc/{found.pid}/root/run/containerd/containerd.sock")
        except OSError:
            return False
    return True
