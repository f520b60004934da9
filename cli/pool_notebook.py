"""Function behind `mlops notebook --training`: JupyterLab in a pod of the cluster, where a training job runs.

The pod runs until its deadline, also without this command. The notebooks of the folder NAME-notebook on this machine
are copied into the pod when it starts, and back while the command runs.
"""

import hashlib
import json
import secrets
import shlex
import subprocess
import time
import webbrowser
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path, PurePosixPath

from cli import laptop, target
from cli.errors import CommandError
from cli.jobs import print_manifest
from contract import names, script
from contract.exit_codes import ExitCode
from runs import declared, state
from runs.cluster import Cluster, Object
from runs.declared import Declared
from runs.state import Run

PORT, SAVE_SECONDS = 8888, 30
POD_FOLDER = "/tmp/notebooks"
"""Folder of the notebooks in the pod: a container writes below /tmp only."""
COPIED = ".copied.json"
"""File in the folder on this machine with the digests of the notebooks that were copied."""
TOKEN = "JUPYTER_TOKEN"
"""Environment variable from which JupyterLab takes its token."""
OF_A_JOB = ("JOB_NAME", script.CONTEXT)
"""Variables by which a run in MLflow counts as that of a Job of the stack."""
START = f"""
import importlib.util, os, sys
if importlib.util.find_spec("jupyterlab") is None:
    sys.exit("the image of this training job has no JupyterLab; install the package jupyterlab in it, as in "
             "images/training-gpu, and name it in the job's image")
os.makedirs("{POD_FOLDER}", exist_ok=True)
# Notebooks import what the training imports from the image's working directory.
os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [os.getcwd(), os.environ.get("PYTHONPATH")]))
os.execv(sys.executable, [sys.executable, "-m", "jupyterlab", "--no-browser", "--ServerApp.ip=127.0.0.1",
                          "--ServerApp.port={PORT}", "--ServerApp.root_dir={POD_FOLDER}"])
"""
RESPONDS = f"import socket; socket.create_connection(('127.0.0.1', {PORT}), 1)"
READ = f"""
import json, pathlib
folder = pathlib.Path("{POD_FOLDER}")
files = [file for file in folder.rglob("*.ipynb") if ".ipynb_checkpoints" not in file.parts]
print(json.dumps({{str(file.relative_to(folder)): file.read_text() for file in files}}))
"""
WRITE = f"""
import json, pathlib, sys
for name, text in json.load(sys.stdin).items():
    file = pathlib.Path("{POD_FOLDER}", name)
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        print(name)
"""


def show(name: str, context: str | None, minutes: int, port: int, *, browser: bool, stop: bool, dry_run: bool) -> int:
    """Connect to the notebook of a training job until Ctrl-C, and return the exit code.

    Args:
        name: key under mlops:training.
        context: context of the kubeconfig; None for the current one.
        minutes: deadline of the pod, if none runs yet.
        port: port of this machine.
        browser: True to open a browser.
        stop: True to end the pod instead.
        dry_run: True to print the Job and create nothing.
    """
    cluster = target.cluster(context)
    training = declared.find(cluster, name)
    if dry_run:
        print_manifest(job(training, minutes))
        return ExitCode.DONE
    running = [run for run in state.all_notebooks(cluster, name) if not run.has_ended]
    if stop:
        return _stop(cluster, name, running)
    found = running[-1].job if running else cluster.create(job(training, minutes))
    notebook = _Notebook(cluster=cluster, name=name, job=found, folder=Path(f"{name}-notebook"))
    print(f"{notebook.job_name} {'runs already' if running else 'is started'}; it ends at {notebook.end:%H:%M} UTC")
    try:
        notebook.connect(port, browser=browser)
    except KeyboardInterrupt:
        in_context = f" --context {shlex.quote(context)}" if context else ""
        again = f"mlops notebook --training {name}{in_context}"
        print(
            f"\n{notebook.job_name} continues until {notebook.end:%H:%M} UTC; connect again with: {again}; "
            f"end it with: {again} --stop"
        )
    return ExitCode.DONE


def job(training: Declared, minutes: int) -> Object:
    """Return the Job of a notebook: that of a training run, with JupyterLab in the place of the training."""
    run = training.job({}, laptop.requester())
    # Without an owner, the CronJob does not count it as one of its runs.
    metadata = {key: value for key, value in run["metadata"].items() if key != "ownerReferences"}
    pod = run["spec"]["template"]
    (container,) = pod["spec"]["containers"]
    container = {key: value for key, value in container.items() if key != "args"}
    kept = [entry for entry in container["env"] if entry["name"] not in OF_A_JOB]
    container["command"] = ["python3", "-c", START]
    container["readinessProbe"] = {"exec": {"command": ["python3", "-c", RESPONDS]}, "periodSeconds": 2}
    container["env"] = [*kept, {"name": TOKEN, "value": secrets.token_hex(16)}]
    return {
        **run,
        "metadata": {
            **metadata,
            "generateName": f"{training.name}-notebook-",
            "labels": {**metadata["labels"], **names.NOTEBOOKS},
        },
        "spec": {
            "activeDeadlineSeconds": minutes * 60,
            "backoffLimit": 0,
            "ttlSecondsAfterFinished": 3600,
            "template": {
                "metadata": {"labels": {**pod["metadata"]["labels"], **names.NOTEBOOKS}},
                "spec": {**pod["spec"], "containers": [container]},
            },
        },
    }


def _stop(cluster: Cluster, name: str, running: list[Run]) -> int:
    if not running:
        raise CommandError(f"no notebook of {name} runs; start one with: mlops notebook --training {name}")
    for run in running:
        notebook = _Notebook(cluster=cluster, name=name, job=run.job, folder=Path(f"{name}-notebook"))
        if run.pods and run.pods[-1].is_ready:
            notebook.save(run.pods[-1].name)
        cluster.delete("job", run.name)
        print(f"{run.name} is ended")
    return ExitCode.DONE


@dataclass(frozen=True, kw_only=True)
class _Notebook:
    """JupyterLab in a pod of a Job."""

    cluster: Cluster
    name: str
    """Training job, a key under mlops:training."""
    job: Object
    folder: Path
    """Folder of the notebooks on this machine."""

    @property
    def job_name(self) -> str:
        return self.job["metadata"]["name"]

    @property
    def end(self) -> datetime:
        """Time at which the deadline ends the pod."""
        begun = self.job.get("status", {}).get("startTime") or self.job["metadata"].get("creationTimestamp")
        start = datetime.fromisoformat(begun) if begun else datetime.now(UTC)
        return start.astimezone(UTC) + timedelta(seconds=self.job["spec"]["activeDeadlineSeconds"])

    def connect(self, port: int, *, browser: bool) -> None:
        """Wait for JupyterLab, and forward its port and copy its notebooks until its pod ends."""
        pod = self._started()
        with self.cluster.tunnel(names.TRAINING, "", PORT, pod=pod, own=port) as (address, tunnel):
            self._send(pod)
            page = f"{address}/lab?token={self._token}"
            try:
                print(f"JupyterLab: {page}\nnotebooks are copied to {self.folder}", flush=True)
                if browser:
                    webbrowser.open(page)
                while tunnel.poll() is None:
                    self.save(pod)
                    with suppress(subprocess.TimeoutExpired):
                        tunnel.wait(SAVE_SECONDS)
            except KeyboardInterrupt:
                self.save(pod)
                raise
        raise CommandError(
            f"{self.job_name} ended, or the connection to it broke; its notebooks are in {self.folder}; connect again "
            f"or start another one with: mlops notebook --training {self.name}",
            ExitCode.FAILED,
        )

    def save(self, pod: str) -> None:
        """Copy the notebooks that changed in the pod to this machine. A file that changed here too stays as it is."""
        files: dict[str, str] = json.loads(self.cluster.execute(pod, "python3", "-c", READ))
        copied = self._copied()
        for name, text in files.items():
            path = self.folder / name
            place = PurePosixPath(name)
            if place.is_absolute() or ".." in place.parts or copied.get(name) == _digest(text):
                continue
            if path.exists() and _digest(path.read_text()) not in {_digest(text), copied.get(name)}:
                path = path.with_suffix(".pod.ipynb")
                print(f"{name} changed on this machine too; the pod's copy is {path}", flush=True)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
            copied[name] = _digest(text)
        self._keep(copied)

    def _copied(self) -> dict[str, str]:
        """Return the digest of each notebook that this machine and the pod both had last, also in a former command."""
        file = self.folder / COPIED
        return json.loads(file.read_text()) if file.exists() else {}

    def _keep(self, copied: Mapping[str, str]) -> None:
        self.folder.mkdir(exist_ok=True)
        (self.folder / COPIED).write_text(json.dumps(copied))

    @property
    def _token(self) -> str:
        (container,) = self.job["spec"]["template"]["spec"]["containers"]
        return next(entry["value"] for entry in container["env"] if entry["name"] == TOKEN)

    def _started(self) -> str:
        """Return the name of the pod when JupyterLab responds. Print what it waits for until then."""
        printed = ""
        while not (run := self._run()).has_ended:
            pod = run.pods[-1] if run.pods else None
            line = (
                f"{pod.name} {pod.summary}" if pod else ": ".join(["no pod yet", *self.cluster.warnings(run.name)[-1:]])
            )
            if line != printed:
                print(line, flush=True)
                printed = line
            if pod and pod.is_ready:
                return pod.name
            time.sleep(1)
        raise CommandError(f"{run.name} failed: {run.reason}", ExitCode.FAILED)

    def _run(self) -> Run:
        found = [run for run in state.all_notebooks(self.cluster, self.name) if run.name == self.job_name]
        if not found:
            raise CommandError(f"the Job {self.job_name} was deleted", ExitCode.FAILED)
        return found[0]

    def _send(self, pod: str) -> None:
        """Copy the notebooks of this machine into the pod, unless it has files of these names."""
        files = [file for file in self.folder.rglob("*.ipynb") if ".ipynb_checkpoints" not in file.parts]
        given = {str(file.relative_to(self.folder)): file.read_text() for file in files}
        written = self.cluster.execute(pod, "python3", "-c", WRITE, stdin=json.dumps(given)).splitlines()
        self._keep(self._copied() | {name: _digest(given[name]) for name in written})


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
