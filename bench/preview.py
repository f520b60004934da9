"""Measures `pulumi preview` by number of endpoints, against a flat program with the same resources.

Both programs run in turns in the same engine, with the same plugin and without a cluster. The flat program declares a
provider and exactly the resources that our preview planned, one call each, without components and settings. The table
shows medians of the wall time, and of the CPU time of engine, plugins and program together. The exit code is 1 if the
flat program plans other resources than ours.
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from rich.console import Console
from rich.table import Table

from lab import paths
from lab.engine import engine_environment, plugin_folder
from lab.kubernetes_plugin import COMMAND as PLUGIN
from lab.tools.build import folder
from lab.tools.catalog import PLUGIN_BUILD

ROOT = Path(__file__).parent.parent
IMAGE = "lab.local/bench:1"
SECRETS = {
    "database_password": "a-password-for-a-preview-alone",
    "artifact_store_access_key": "BENCHACCESSKEY",
    "artifact_store_secret_key": "a-secret-key-for-a-preview-alone",
}
NO_CLUSTER = {
    "apiVersion": "v1",
    "kind": "Config",
    "current-context": "bench",
    "clusters": [{"name": "bench", "cluster": {"server": "https://127.0.0.1:1"}}],
    "users": [{"name": "bench", "user": {"token": "none"}}],
    "contexts": [{"name": "bench", "context": {"cluster": "bench", "user": "bench"}}],
}
FLAT = '''"""Every resource of the plan, declared one by one."""

import json
from importlib import import_module
from pathlib import Path

import pulumi
import pulumi_kubernetes

cluster = pulumi_kubernetes.Provider("cluster", context="bench")
for item in json.loads(Path(__file__).with_name("plan.json").read_text()):
    cls = getattr(import_module(item["module"]), item["class"])
    cls(item["name"], **item["inputs"], opts=pulumi.ResourceOptions(provider=cluster))
'''
NO_PROVIDER_TYPES = ("pulumi:pulumi:Stack", "pulumi:providers:", "mlops:index:")


@dataclass(frozen=True)
class Project:
    """A stack that can be previewed."""

    folder: Path
    arguments: tuple[str, ...]
    env: Mapping[str, str]

    def pulumi(self, *arguments: str) -> str:
        """Return the output of a pulumi command; exit with the end of its output if it fails."""
        done = subprocess.run(
            [str(paths.binaries() / "pulumi"), *arguments, "--non-interactive", *self.arguments],
            cwd=self.folder, env=dict(self.env), capture_output=True, text=True, check=False,
        )  # fmt: skip
        if done.returncode:
            sys.exit(f"pulumi {arguments[0]} failed:\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}")
        return done.stdout

    def plan(self) -> list[dict[str, Any]]:
        """Return the states of the provider's resources in a preview."""
        steps = json.loads(self.pulumi("preview", "--json"))["steps"]
        states = [step["newState"] for step in steps]
        return [state for state in states if not state["type"].startswith(NO_PROVIDER_TYPES)]

    def seconds(self) -> tuple[float, float]:
        """Return wall time and CPU time of one preview, in seconds."""
        began, spent = time.perf_counter(), _cpu_seconds()
        self.pulumi("preview")
        return time.perf_counter() - began, _cpu_seconds() - spent


def _cpu_seconds() -> float:
    """Return the CPU time of all ended descendants of this process."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def environment(scratch: Path) -> dict[str, str]:
    """Return the lab's environment with its own home and backend, and a cluster that does not exist."""
    backend, home, kubeconfig = scratch / "backend", scratch / "home", scratch / "kubeconfig"
    backend.mkdir()
    place = home / "plugins" / plugin_folder().name  # a real folder, because the engine ignores a link
    place.mkdir(parents=True)
    (place / PLUGIN).symlink_to(folder(PLUGIN_BUILD) / PLUGIN)
    kubeconfig.write_text(yaml.safe_dump(NO_CLUSTER))
    lab = {name: value for name, value in engine_environment().items() if name != "PULUMI_CONFIG_PASSPHRASE_FILE"}
    return {
        **lab,
        "PULUMI_CONFIG_PASSPHRASE": "for a preview alone",
        "KUBECONFIG": str(kubeconfig),
        "PULUMI_BACKEND_URL": f"file://{backend}",
        "PULUMI_HOME": str(home),
    }


def ours(scratch: Path, env: Mapping[str, str], endpoints: int) -> Project:
    """Return the repository's own program, with a stack file of `endpoints` endpoints."""
    folder = scratch / f"ours-{endpoints}"
    folder.mkdir()
    (folder / "Pulumi.yaml").write_text(
        yaml.safe_dump({"name": "mlops", "runtime": "python", "main": str(ROOT / "infra")})
    )
    config = {
        "mlops:foundation": {
            "kind": "local",
            "context": "bench",
            "images": {"postgres": IMAGE, "s3_gateway": IMAGE},
            "node_pools": {"cpu": {"labels": {"mlops/node-pool": "cpu"}}},
        },
        "mlops:images": {"tracking": IMAGE, "training": IMAGE, "serving": IMAGE},
        "mlops:quotas": {"serving": {"cpu": "9000", "memory": "9000Gi", "pods": 9000}},
        "mlops:endpoints": {f"model-{number}": {"version": number + 1} for number in range(endpoints)},
    }
    stack = f"bench-{endpoints}"
    (folder / f"Pulumi.{stack}.yaml").write_text(yaml.safe_dump({"config": config}))
    project = Project(folder, ("--stack", stack), env)
    Project(folder, (), env).pulumi("stack", "init", stack)
    for key, value in SECRETS.items():
        project.pulumi("config", "set", "--secret", f"mlops:{key}", value)
    return project


def flat(scratch: Path, env: Mapping[str, str], endpoints: int, plan: list[dict[str, Any]]) -> Project:
    """Return a program without components that declares the resources of `plan`."""
    folder = scratch / f"flat-{endpoints}"
    folder.mkdir()
    (folder / "Pulumi.yaml").write_text(f"name: flat-{endpoints}\nruntime: python\n")
    (folder / "plan.json").write_text(json.dumps([_declared(state) for state in plan]))
    (folder / "__main__.py").write_text(FLAT)
    project = Project(folder, ("--stack", "flat"), env)
    Project(folder, (), env).pulumi("stack", "init", "flat")
    return project


def _declared(state: Mapping[str, Any]) -> dict[str, Any]:
    _, module, name = state["type"].split(":")
    inputs = {_snake(key): value for key, value in state["inputs"].items() if key not in {"apiVersion", "kind"}}
    dotted = module.replace("/", ".").replace(".k8s.io", "").replace("rbac.authorization", "rbac")
    return {
        "module": f"pulumi_kubernetes.{dotted}",
        "class": name,
        "name": state["urn"].split("::")[-1],
        "inputs": inputs,
    }


def _snake(name: str) -> str:
    return "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in name)


def measure(scratch: Path, env: Mapping[str, str], endpoints: int, repetitions: int) -> Iterator[str]:
    """Yield the cells of one row of the table; preview both programs in turns."""
    program = ours(scratch, env, endpoints)
    planned = program.plan()
    peer = flat(scratch, env, endpoints, planned)
    counts = [Counter(state["type"] for state in plan) for plan in (planned, peer.plan())]
    if counts[0] != counts[1]:
        sys.exit(
            f"the flat program plans other resources: missing {counts[0] - counts[1]}, extra {counts[1] - counts[0]}"
        )
    turns = [(program.seconds(), peer.seconds()) for _ in range(repetitions)]
    yield from (str(endpoints), str(len(planned)))
    for clock in (0, 1):
        mine, other = (statistics.median(turn[who][clock] for turn in turns) for who in (0, 1))
        yield from (f"{mine:.2f}", f"{other:.2f}", f"{mine / other:.2f}")


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--endpoints", type=int, nargs="+", default=[1, 10, 100, 500], metavar="N")
    parser.add_argument("--repetitions", type=int, default=3, metavar="N", help="previews for each median (default: 3)")
    options = parser.parse_args()
    columns = [f"{column} ({clock})" for clock in ("wall", "CPU") for column in ("ours, s", "flat, s", "ratio")]
    table = Table("endpoints", "resources", *columns, title="pulumi preview")
    with tempfile.TemporaryDirectory() as folder, Console(stderr=True).status("") as status:
        scratch = Path(folder)
        env = environment(scratch)
        for endpoints in options.endpoints:
            status.update(f"{endpoints} endpoints")
            table.add_row(*measure(scratch, env, endpoints, options.repetitions))
    Console().print(table)


if __name__ == "__main__":
    main()
