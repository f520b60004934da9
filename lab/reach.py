"""Services of the cluster, reached from this machine for as long as the flow needs them."""

import json
import re
import subprocess
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from lab.commands import Commands
from lab.errors import LabError

LISTENING = re.compile(r"Forwarding from (127\.0\.0\.1:\d+)")


@dataclass(frozen=True, kw_only=True)
class Kube:
    """The cluster that the stack is deployed to: the lab's own or one of the user's."""

    context: str
    environment: Mapping[str, str]
    commands: Commands

    def command(self, *arguments: str) -> Sequence[str]:
        """The command line of `kubectl` for this cluster."""
        return ["kubectl", "--context", self.context, *arguments]

    def kubectl(self, *arguments: str) -> str:
        """What `kubectl` answers."""
        return self.commands.answer(self.command(*arguments), env=self.environment)

    def items(self, *arguments: str) -> list[dict[str, Any]]:
        """The objects that `kubectl get` finds; none of a kind or name that is not there."""
        found = json.loads(self.kubectl("get", *arguments, "--ignore-not-found", "--output", "json") or "{}")
        return found.get("items", [found] if found else [])

    @contextmanager
    def forwarded(self, namespace: str, service: str, port: int) -> Generator[str]:
        """`http://127.0.0.1:<free port>`, which leads to a pod of the Service until the block ends."""
        command = self.command("port-forward", "--namespace", namespace, f"service/{service}", f":{port}")
        with subprocess.Popen(
            command, env=self.environment, text=True, start_new_session=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        ) as tunnel:  # fmt: skip
            try:
                said = ""
                for line in tunnel.stdout or ():
                    said += line
                    if found := LISTENING.search(line):
                        yield f"http://{found[1]}"
                        return
                raise LabError(f"Service {service} in {namespace} cannot be reached: {said.strip()}")
            finally:
                tunnel.terminate()
