"""The cluster that a kubeconfig names, by way of `kubectl`."""

import json
import re
import subprocess
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from contract import names
from runs.errors import ClusterError, RunsError

LISTENING = re.compile(r"Forwarding from (127\.0\.0\.1:\d+)")
NO_KUBECTL = "kubectl is not on PATH, and the cluster is reached through it; install it"
Object = Mapping[str, Any]
"""One of Kubernetes', as its JSON has it."""


@dataclass(frozen=True, kw_only=True)
class Cluster:
    """Access to one cluster through kubectl, in the namespace of training Jobs where no other is named."""

    context: str | None = None
    """Context of the kubeconfig; None is the current one."""
    environment: Mapping[str, str] | None = None
    """Environment variables of kubectl; None is the environment of this process."""

    def items(self, kinds: str, selector: str) -> list[Object]:
        """The objects of these kinds that the labels select."""
        return json.loads(self._answer("get", kinds, "--selector", selector, "--output", "json"))["items"]

    def warnings(self, name: str) -> list[str]:
        """What the cluster complained about concerning an object, the latest last."""
        about = f"involvedObject.name={name},type=Warning"
        events = json.loads(self._answer("get", "events", "--field-selector", about, "--output", "json"))["items"]
        return [event["message"] for event in sorted(events, key=lambda event: str(event.get("lastTimestamp") or ""))]

    def events_of_jobs(self) -> list[Object]:
        """What the cluster remembers of Jobs, those that are gone as well; it forgets after an hour, as a rule."""
        about = "involvedObject.kind=Job"
        return json.loads(self._answer("get", "events", "--field-selector", about, "--output", "json"))["items"]

    def create(self, manifest: Object) -> Object:
        """The object as it was made, with its name."""
        return json.loads(self._answer("create", "--filename", "-", "--output", "json", given=json.dumps(manifest)))

    def log(self, pod: str, *, since: str | None = None) -> subprocess.Popen[str]:
        """Writes each line of a pod with its time, as it comes, and ends when the pod does; not 0 if it had to stop."""
        more = ["--since-time", since] if since else []
        return self._start(self._command("logs", pod, "--follow", "--timestamps", *more), errors=subprocess.PIPE)

    @contextmanager
    def forwarded(self, namespace: str, service: str, port: int) -> Generator[str]:
        """`http://127.0.0.1:<free port>`, which leads to a pod of the Service until the block or the pod ends."""
        command = self._command("port-forward", f"service/{service}", f":{port}", namespace=namespace)
        with self._start(command, errors=subprocess.STDOUT) as tunnel:
            try:
                said = ""
                for line in tunnel.stdout or ():
                    said += line
                    if found := LISTENING.search(line):
                        yield f"http://{found[1]}"
                        return
                raise ClusterError(f"Service {service} cannot be reached through kubectl: {said.strip()}")
            finally:
                tunnel.terminate()

    def _command(self, *arguments: str, namespace: str = names.TRAINING) -> Sequence[str]:
        context = ["--context", self.context] if self.context else []
        return ["kubectl", *context, "--namespace", namespace, *arguments]

    def _answer(self, *arguments: str, given: str = "") -> str:
        command = self._command(*arguments)
        try:
            done = subprocess.run(
                command, env=self.environment, input=given, capture_output=True, text=True, check=False
            )
        except FileNotFoundError as missing:
            raise RunsError(NO_KUBECTL) from missing
        if done.returncode:
            raise ClusterError(f"`{' '.join(command)}` ended with {done.returncode}: {last_line(done.stderr)}")
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
    """What a program said last, which is why it failed."""
    return (text.strip().splitlines() or ["it said nothing"])[-1]
