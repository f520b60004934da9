"""Function behind `mlops notebook --training`: JupyterLab in a pod of the cluster, where a training job runs.

The pod runs until its deadline, also without this command. The notebooks of the folder NAME-notebook on this machine
are copied into the pod when it starts, and back while the command runs.
"""

import json
import shlex
import signal
import subprocess
import time
import webbrowser
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NoReturn

from cli import laptop, target
from cli.errors import CommandError
from cli.jobs import print_manifest
from cli.notebook_files import NotebookFiles
from contract import names, script
from contract.exit_codes import ExitCode
from runs import declared, state
from runs.cluster import Cluster, Object
from runs.declared import Declared
from runs.errors import ClusterError
from runs.state import Run

PORT, SAVE_SECONDS, MINUTES = 8888, 30, 120
PATIENCE = 60
"""Number of polls in a row that may fail while the pod starts."""
POD_FOLDER = "/tmp/notebooks"
"""Folder of the notebooks in the pod: a container writes below /tmp only."""
TOKEN_FILE = "/tmp/jupyter-token"
"""File in the pod with the token of JupyterLab. The Job does not have it: more people may read Jobs than enter pods."""
OWNER = "mlops/requester"
"""Annotation of the Job with the person whose notebook it is."""
OF_A_JOB = ("JOB_NAME", script.CONTEXT)
"""Variables by which a run in MLflow counts as that of a Job of the stack."""
START = f"""
import importlib.util, os, secrets, sys
if importlib.util.find_spec("jupyterlab") is None:
    sys.exit("the image of this training job has no JupyterLab; install the package jupyterlab in it, as in "
             "images/training-gpu, and name it in the job's image")
os.makedirs("{POD_FOLDER}", exist_ok=True)
os.environ["JUPYTER_TOKEN"] = secrets.token_hex(16)
with open(os.open("{TOKEN_FILE}", os.O_WRONLY | os.O_CREAT, 0o600), "w") as file:
    file.write(os.environ["JUPYTER_TOKEN"])
# Notebooks import what the training imports from the image's working directory.
os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [os.getcwd(), os.environ.get("PYTHONPATH")]))
os.execv(sys.executable, [sys.executable, "-m", "jupyterlab", "--no-browser", "--ServerApp.ip=127.0.0.1",
                          "--ServerApp.port={PORT}", "--ServerApp.root_dir={POD_FOLDER}"])
"""
RESPONDS = f"import socket; socket.create_connection(('127.0.0.1', {PORT}), 1)"
# JupyterLab empties a notebook before it writes it, so a text that is no JSON is left for the next time.
READ = f"""
import json, pathlib
folder, found = pathlib.Path("{POD_FOLDER}"), {{}}
for file in folder.rglob("*.ipynb"):
    try:
        text = file.read_text()
        json.loads(text)
    except (OSError, ValueError):
        continue
    found[str(file.relative_to(folder))] = text
print(json.dumps(found))
"""
WRITE = f"""
import json, pathlib, sys
for name, text in json.load(sys.stdin).items():
    file = pathlib.Path("{POD_FOLDER}", name)
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    if file.read_text() == text:
        print(name)
"""


def show(
    name: str, context: str | None, minutes: int | None, port: int, *, browser: bool, stop: bool, dry_run: bool
) -> int:
    """Connect to the caller's notebook of a training job until Ctrl-C, and return the exit code.

    Args:
        name: key under mlops:training.
        context: context of the kubeconfig; None for the current one.
        minutes: deadline of the pod, if none runs yet; None for MINUTES.
        port: port of this machine.
        browser: True to open a browser.
        stop: True to end the pod instead.
        dry_run: True to print the Job and create nothing.
    """
    cluster = target.cluster(context)
    training = declared.find(cluster, name)
    made = job(training, minutes or MINUTES)
    if dry_run:
        print_manifest(made)
        return ExitCode.DONE
    files = NotebookFiles(Path(f"{name}-notebook"))
    running = [run for run in state.all_notebooks(cluster, name) if not run.has_ended and _is_mine(run)]
    if stop:
        return _stop(cluster, name, files, running)
    laptop.listen(port).close()
    files.given()
    found = running[-1].job if running else cluster.create(made)
    notebook = _Notebook(cluster=cluster, name=name, job=found, files=files)
    print(f"{notebook.job_name} {'runs already' if running else 'is started'}; it ends at {notebook.end:%H:%M} UTC")
    in_context = f" --context {shlex.quote(context)}" if context else ""
    again = f"mlops notebook --training {name}{in_context}"
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        notebook.connect(port, browser=browser)
    except KeyboardInterrupt:
        print(
            f"\n{notebook.job_name} continues until {notebook.end:%H:%M} UTC; connect again with: {again}; "
            f"end it with: {again} --stop"
        )
        return ExitCode.DONE
    except ClusterError as error:
        raise CommandError(
            f"{notebook.job_name} ended, or the connection to it broke ({error}); what was copied is in "
            f"{files.folder}; connect again, or start another one, with: {again}",
            ExitCode.FAILED,
        ) from error


def job(training: Declared, minutes: int) -> Object:
    """Return the Job of a notebook: that of a training run, with JupyterLab in the place of the training."""
    run = training.job({}, laptop.requester())
    # Without an owner, the CronJob does not count it as one of its runs.
    metadata = {key: value for key, value in run["metadata"].items() if key != "ownerReferences"}
    pod = run["spec"]["template"]
    (container,) = pod["spec"]["containers"]
    container = {key: value for key, value in container.items() if key != "args"}
    container["command"] = ["python3", "-c", START]
    container["readinessProbe"] = {
        "exec": {"command": ["python3", "-c", RESPONDS]},
        "periodSeconds": 5,
        "timeoutSeconds": 10,
    }
    container["env"] = [entry for entry in container["env"] if entry["name"] not in OF_A_JOB]
    # The pods of a sweep have a deadline of their own, that of the training.
    of_pod = {key: value for key, value in pod["spec"].items() if key != "activeDeadlineSeconds"}
    return {
        **run,
        "metadata": {
            **metadata,
            "generateName": f"{training.name}-notebook-",
            "annotations": {**metadata.get("annotations", {}), OWNER: laptop.requester()},
            "labels": {**metadata["labels"], **names.NOTEBOOKS},
        },
        "spec": {
            "activeDeadlineSeconds": minutes * 60,
            "backoffLimit": 0,
            "ttlSecondsAfterFinished": 3600,
            "template": {
                "metadata": {"labels": {**pod["metadata"]["labels"], **names.NOTEBOOKS}},
                "spec": {**of_pod, "containers": [container]},
            },
        },
    }


def _is_mine(run: Run) -> bool:
    mine = laptop.requester()
    return run.job["metadata"].get("annotations", {}).get(OWNER, mine) == mine


def _stop(cluster: Cluster, name: str, files: NotebookFiles, running: list[Run]) -> int:
    """Copy the notebooks of the pods, and delete their Jobs."""
    if not running:
        raise CommandError(
            f"no notebook of {name} that {laptop.requester()} started runs; start one with: "
            f"mlops notebook --training {name}"
        )
    for run in running:
        notebook = _Notebook(cluster=cluster, name=name, job=run.job, files=files)
        if run.pods and run.pods[-1].has_started:
            files.given()  # makes the folder
            try:
                notebook.save(run.pods[-1].name)
            except ClusterError as error:
                raise CommandError(
                    f"{run.name} still runs, because its notebooks cannot be copied ({error}); end it without them: "
                    f"kubectl delete job {run.name} -n {names.TRAINING}",
                    ExitCode.FAILED,
                ) from error
        cluster.delete("job", run.name)
        print(f"{run.name} is ended; its notebooks are in {files.folder}")
    return ExitCode.DONE


@dataclass(frozen=True, kw_only=True)
class _Notebook:
    """JupyterLab in a pod of a Job."""

    cluster: Cluster
    name: str
    """Training job, a key under mlops:training."""
    job: Object
    files: NotebookFiles
    """Notebooks on this machine."""

    @property
    def job_name(self) -> str:
        return self.job["metadata"]["name"]

    @property
    def end(self) -> datetime:
        """Time at which the deadline ends the pod."""
        begun = self.job.get("status", {}).get("startTime") or self.job["metadata"].get("creationTimestamp")
        start = datetime.fromisoformat(begun) if begun else datetime.now(UTC)
        return start.astimezone(UTC) + timedelta(seconds=self.job["spec"]["activeDeadlineSeconds"])

    def connect(self, port: int, *, browser: bool) -> NoReturn:
        """Wait for JupyterLab, and forward its port and copy its notebooks until its pod ends.

        Raise ClusterError when the pod ends, or cannot be reached.
        """
        pod = self._started()
        given = self.files.given()
        written = self.cluster.execute(pod, "python3", "-c", WRITE, stdin=json.dumps(given)).splitlines()
        self.files.sent(written, given)
        for name in sorted(given.keys() - written):
            print(f"{name} is not copied, because the pod has another one")
        with self.cluster.tunnel(names.TRAINING, "", PORT, pod=pod, local_port=port) as (address, tunnel):
            page = f"{address}/lab?token={self.cluster.execute(pod, 'cat', TOKEN_FILE)}"
            try:
                print(f"JupyterLab: {page}\nnotebooks are copied to {self.files.folder}", flush=True)
                if browser:
                    webbrowser.open(page)
                while tunnel.poll() is None:
                    self.save(pod)
                    with suppress(subprocess.TimeoutExpired):
                        tunnel.wait(SAVE_SECONDS)
            except KeyboardInterrupt:
                self.save(pod)
                raise
        raise ClusterError("kubectl port-forward ended")

    def save(self, pod: str) -> None:
        """Copy the notebooks that changed in the pod to this machine."""
        for line in self.files.save(json.loads(self.cluster.execute(pod, "python3", "-c", READ))):
            print(line, flush=True)

    def _started(self) -> str:
        """Return the name of the pod when JupyterLab responds. Print what it waits for until then."""
        printed, failures = "", 0
        while True:
            try:
                run, failures = self._run(), 0
            except ClusterError:
                failures += 1
                if failures > PATIENCE:
                    raise
                time.sleep(1)
                continue
            if run.has_ended:
                raise CommandError(f"{run.name} failed: {run.reason}", ExitCode.FAILED)
            pod = run.pods[-1] if run.pods else None
            why = [] if pod else self.cluster.warnings(run.name)[-1:]
            line = f"{pod.name} {pod.summary}" if pod else ": ".join(["no pod yet", *why])
            if line != printed:
                print(line, flush=True)
                printed = line
            if pod and pod.is_ready:
                return pod.name
            time.sleep(1)

    def _run(self) -> Run:
        found = [run for run in state.all_notebooks(self.cluster, self.name) if run.name == self.job_name]
        if not found:
            raise CommandError(f"the Job {self.job_name} was deleted", ExitCode.FAILED)
        return found[0]
