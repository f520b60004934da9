"""Access through `kubectl` to the cluster that a kubeconfig names."""

import json
import re
import subprocess
import threading
from collections import deque
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from contract import names
from runs.errors import ClusterError, RunsError

LISTENING = re.compile(r"Forwarding from (127\.0\.0\.1:\d+)")
NO_KUBECTL = "kubectl is not on PATH, but this command needs it to reach the cluster; install kubectl"
Object = Mapping[str, Any]
"""Object of Kubernetes, as decoded JSON."""


@dataclass(frozen=True, kw_only=True)
class Cluster:
    """Access to one cluster through kubectl. The namespace is that of training Jobs unless a method takes another."""

    context: str | None = None
    """Context of the kubeconfig; None is the current one."""
    environment: Mapping[str, str] | None = None
    """Environment variables of kubectl; None is the environment of this process."""
    seconds: int | None = None
    """Time limit in seconds of each request and of each port-forward; None: no limit."""

    def read(self, *arguments: str, namespace: str = names.TRAINING) -> Object:
        """Return what `kubectl ARGUMENTS --output json` prints."""
        return json.loads(self._kubectl(*arguments, "--output", "json", namespace=namespace))

    def items(self, kinds: str, selector: str, *, namespace: str = names.TRAINING) -> list[Object]:
        """Return the objects of these kinds whose labels match the selector."""
        return self.read("get", kinds, "--selector", selector, namespace=namespace)["items"]

    def warnings(self, name: str) -> list[str]:
        """Return the messages of the warning events about an object, the latest last."""
        about = f"involvedObject.name={name},type=Warning"
        events = json.loads(self._kubectl("get", "events", "--field-selector", about, "--output", "json"))["items"]
        return [event["message"] for event in sorted(events, key=lambda event: str(event.get("lastTimestamp") or ""))]

    def events_of_jobs(self) -> list[Object]:
        """Return the events about Jobs, also about deleted ones. A cluster usually keeps events for an hour."""
        about = "involvedObject.kind=Job"
        return json.loads(self._kubectl("get", "events", "--field-selector", about, "--output", "json"))["items"]

    def create(self, manifest: Object) -> Object:
        """Create an object and return it as the API server stored it, with its generated name."""
        return json.loads(self._kubectl("create", "--filename", "-", "--output", "json", stdin=json.dumps(manifest)))

    def delete(self, kind: str, name: str) -> None:
        """Delete an object and its pods."""
        self._kubectl("delete", kind, name, "--cascade=background")

    def execute(self, pod: str, *command: str, stdin: str = "") -> str:
        """Run a command in the first container of a pod, and return what it prints."""
        return self._kubectl("exec", "--stdin", pod, "--", *command, stdin=stdin)

    def token(self, account: str) -> str:
        """Return a token by which MLflow knows a service account of its namespace; it is valid for an hour."""
        words = ("create", "token", account, "--audience", names.TRACKING_AUDIENCE)
        return self._kubectl(*words, namespace=names.PLATFORM).strip()

    def log(self, pod: str, *, since: str | None = None) -> subprocess.Popen[str]:
        """Start `kubectl logs --follow`, which prints each line of a pod with its time.

        The process ends when the pod ends. Its exit code is not 0 if the connection broke.
        """
        more = ["--since-time", since] if since else []
        return self._start(self._command("logs", pod, "--follow", "--timestamps", *more), errors=subprocess.PIPE)

    @contextmanager
    def forwarded(self, namespace: str, service: str, port: int, *, pod: str = "") -> Generator[str]:
        """Yield `http://127.0.0.1:<free port>`, forwarded to a pod of the Service until the block or the pod ends.

        With `pod`, it is this pod.
        """
        with self.tunnel(namespace, service, port, pod=pod) as (address, _):
            yield address

    @contextmanager
    def tunnel(
        self, namespace: str, service: str, port: int, *, pod: str = "", local_port: int | None = None
    ) -> Generator[tuple[str, subprocess.Popen[str]]]:
        """Yield the address as `forwarded` does, with the process of kubectl, which ends when its pod ends.

        `local_port` is the port of this machine; None for a free one.
        """
        kind, name = ("Pod", pod) if pod else ("Service", service)
        # Without an address, kubectl is content with the port of IPv6 alone.
        words = (f"{kind.lower()}/{name}", f"{local_port or ''}:{port}", "--address", "127.0.0.1")
        command = self._command("port-forward", *words, namespace=namespace)
        with self._start(command, errors=subprocess.STDOUT) as tunnel, self._ended_in_time(tunnel):
            # kubectl prints a line for each connection, and stops when nobody reads them.
            reader = threading.Thread(target=deque[str], args=(tunnel.stdout, 0))
            try:
                output = ""
                for line in tunnel.stdout or ():
                    output += line
                    if found := LISTENING.search(line):
                        reader.start()
                        yield f"http://{found[1]}", tunnel
                        return
                reason = output.strip() or "no pod responded in time"
                raise ClusterError(f"{kind} {name} cannot be reached through kubectl: {reason}")
            finally:
                tunnel.terminate()
                if reader.ident:
                    reader.join()

    @contextmanager
    def _ended_in_time(self, process: subprocess.Popen[str]) -> Generator[None]:
        """Terminate the process when the time limit has passed."""
        if self.seconds is None:
            yield
            return
        timer = threading.Timer(self.seconds, process.terminate)
        timer.start()
        try:
            yield
        finally:
            timer.cancel()

    def _command(self, *arguments: str, namespace: str = names.TRAINING) -> Sequence[str]:
        context = ["--context", self.context] if self.context else []
        return ["kubectl", *context, "--namespace", namespace, *arguments]

    def _kubectl(self, *arguments: str, stdin: str = "", namespace: str = names.TRAINING) -> str:
        limit = [f"--request-timeout={self.seconds}s"] if self.seconds else []
        command = self._command(*arguments, *limit, namespace=namespace)
        try:
            done = subprocess.run(
                command, env=self.environment, input=stdin, capture_output=True, text=True, check=False
            )
        except FileNotFoundError as missing:
            raise RunsError(NO_KUBECTL) from missing
        if done.returncode:
            shown = " ".join("..." if "\n" in word else word for word in command)  # a word may be a whole program
            raise ClusterError(f"`{shown}` failed with exit code {done.returncode}: {last_line(done.stderr)}")
        return done.stdout

    def _start(self, command: Sequence[str], *, errors: int) -> subprocess.Popen[str]:
        try:
            return subprocess.Popen(
                command, env=self.environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=errors,
                text=True, errors="replace",
            )  # fmt: skip
        except FileNotFoundError as missing:
            raise RunsError(NO_KUBECTL) from missing


def last_line(text: str) -> str:
    """Return the last line that a program printed; it usually has the reason of a failure."""
    return (text.strip().splitlines() or ["it printed nothing"])[-1]
