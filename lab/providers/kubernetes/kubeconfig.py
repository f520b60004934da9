"""Which cluster, and how to prove who one is: what a kubeconfig says."""

import base64
import json
import os
import ssl
import subprocess
import tempfile
import threading
import time
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import yaml

from lab.providers.plugin import RefusalError
from lab.providers.values import Json, Tree, entries, is_map, section

IN_CLUSTER = Path("/var/run/secrets/kubernetes.io/serviceaccount")


class KubeconfigError(RefusalError):
    """The kubeconfig names no usable cluster; one sentence."""


@dataclass
class Access:
    """One user's way into one cluster."""

    server: str
    namespace: str
    tls: ssl.SSLContext
    server_name: str | None = None
    token: str | None = None
    basic: str | None = None
    plugin: Tree | None = None
    _token_until: float = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def headers(self) -> dict[str, str]:
        """Authorization for the next request; runs the credential plugin when its token is about to end."""
        if self.basic:
            return {"Authorization": f"Basic {self.basic}"}
        if self.plugin:
            with self._lock:
                if time.time() > self._token_until - 60:
                    self.token, self._token_until = _ask_plugin(self.plugin)
        return {"Authorization": f"Bearer {self.token}"} if self.token else {}


def load(kubeconfig: str | None, *, context: str | None, cluster: str | None, namespace: str | None) -> Access:
    """The access that `kubeconfig` (contents or path; else $KUBECONFIG, ~/.kube/config, the pod's own) gives."""
    documents = _documents(kubeconfig)
    if not documents:
        return _in_cluster(namespace)
    name = context or next((d["current-context"] for d in documents if d.get("current-context")), None)
    if not name:
        raise KubeconfigError("the kubeconfig has no current-context; set `context` on the provider")
    chosen = _entry(documents, "context", name)
    cluster_entry = _entry(documents, "cluster", cluster or chosen.get("cluster", ""))
    user = _entry(documents, "user", chosen["user"]) if chosen.get("user") else {}
    return Access(
        server=str(cluster_entry["server"]).rstrip("/"),
        namespace=namespace or chosen.get("namespace") or "default",
        tls=_tls(cluster_entry, user),
        server_name=cluster_entry.get("tls-server-name"),
        token=user.get("token") or _text(user.get("tokenFile")),
        basic=_basic(user),
        plugin=user.get("exec"),
    )


def _documents(kubeconfig: str | None) -> list[Tree]:
    if kubeconfig:
        if os.pathsep not in kubeconfig.strip("\n") or "\n" in kubeconfig or "{" in kubeconfig:
            parsed = _parse(kubeconfig, "the provider's kubeconfig")
            if is_map(parsed):
                return [parsed]
        paths = [Path(part).expanduser() for part in kubeconfig.split(os.pathsep)]
        if missing := [str(path) for path in paths if not path.is_file()]:
            raise KubeconfigError(f"the provider's kubeconfig is neither YAML nor a file that exists: {missing[0]}")
    elif told := os.environ.get("KUBECONFIG"):
        paths = [Path(part).expanduser() for part in told.split(os.pathsep) if part]
    else:
        paths = [Path.home() / ".kube" / "config"]
    found = [(path, _parse(path.read_text(), str(path))) for path in paths if path.is_file()]
    return [_absolute(document, path.parent) for path, document in found if is_map(document)]


def _parse(text: str, origin: str) -> Json:
    try:
        return yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except yaml.YAMLError as error:
        raise KubeconfigError(f"{origin} is not YAML: {' '.join(str(error).split())}") from error


def _absolute(document: Tree, folder: Path) -> Tree:
    """Paths in a kubeconfig file are relative to it."""
    for kind, fields in (("clusters", ["certificate-authority"]), ("users", ["client-certificate", "client-key"])):
        for entry in entries(document, kind):
            body = section(entry, kind[:-1])
            body |= {name: str(folder / body[name]) for name in fields if body.get(name)}
    return document


def _entry(documents: list[Tree], kind: str, name: str) -> Tree:
    for document in documents:
        for entry in entries(document, f"{kind}s"):
            if entry.get("name") == name:
                return section(entry, kind)
    names = sorted(entry["name"] for document in documents for entry in entries(document, f"{kind}s"))
    raise KubeconfigError(f"the kubeconfig has no {kind} {name!r}; it has: {', '.join(names) or 'none'}")


def _in_cluster(namespace: str | None) -> Access:
    host = os.environ.get("KUBERNETES_SERVICE_HOST")
    if not host or not (IN_CLUSTER / "token").is_file():
        told = os.environ.get("KUBECONFIG")
        looked = f"$KUBECONFIG is {told}, which does not exist" if told else "no $KUBECONFIG, no ~/.kube/config"
        raise KubeconfigError(f"there is no kubeconfig: none given to the provider, and {looked}")
    return Access(
        server=f"https://{host}:{os.environ.get('KUBERNETES_SERVICE_PORT', '443')}",
        namespace=namespace or (IN_CLUSTER / "namespace").read_text().strip(),
        tls=ssl.create_default_context(cafile=str(IN_CLUSTER / "ca.crt")),
        token=(IN_CLUSTER / "token").read_text().strip(),
    )


def _tls(cluster: Tree, user: Tree) -> ssl.SSLContext:
    authority = _data(cluster, "certificate-authority")
    context = ssl.create_default_context(cadata=authority.decode() if authority else None)
    context.set_alpn_protocols(["http/1.1"])
    if cluster.get("insecure-skip-tls-verify"):
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    certificate, key = _data(user, "client-certificate"), _data(user, "client-key")
    if certificate and key:
        with tempfile.NamedTemporaryFile() as pair:  # the ssl module reads keys from files alone
            pair.write(certificate + b"\n" + key)
            pair.flush()
            context.load_cert_chain(pair.name)
    return context


def _data(entry: Tree, name: str) -> bytes | None:
    if embedded := entry.get(f"{name}-data"):
        return base64.b64decode(embedded)
    return Path(entry[name]).read_bytes() if entry.get(name) else None


def _text(path: str | None) -> str | None:
    return Path(path).read_text().strip() if path else None


def _basic(user: Tree) -> str | None:
    if not user.get("username"):
        return None
    return base64.b64encode(f"{user['username']}:{user.get('password', '')}".encode()).decode()


def _ask_plugin(plugin: Tree) -> tuple[str, float]:
    """Token and end of a credential plugin (`aws eks get-token`); certificates from one are not supported."""
    info = {"apiVersion": plugin.get("apiVersion"), "kind": "ExecCredential", "spec": {"interactive": False}}
    added = {variable["name"]: variable["value"] for variable in entries(plugin, "env")}
    try:
        done = subprocess.run(
            [plugin["command"], *(plugin.get("args") or [])],
            env={**os.environ, **added, "KUBERNETES_EXEC_INFO": json.dumps(info)},
            capture_output=True,
            check=True,
            timeout=60,
        )
    except FileNotFoundError as error:
        raise KubeconfigError(f"the kubeconfig's credential plugin {plugin['command']!r} is not installed") from error
    except subprocess.SubprocessError as error:
        said = getattr(error, "stderr", None) or b""
        raise KubeconfigError(
            f"the kubeconfig's credential plugin {plugin['command']!r} failed: {said.decode().strip() or error}"
        ) from error
    status: Tree = json.loads(done.stdout).get("status") or {}
    if not status.get("token"):
        raise KubeconfigError(f"the kubeconfig's credential plugin {plugin['command']!r} gave no token")
    until = status.get("expirationTimestamp")
    end = datetime.fromisoformat(until).timestamp() if until else time.time() + 600
    return str(status["token"]), end
