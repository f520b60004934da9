"""Follow a run until it ends: print the state of its pods and their logs."""

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from typing_extensions import override

from runs.cluster import Cluster, last_line
from runs.errors import ClusterError, RunsError
from runs.state import Pod, Run

SECONDS_BETWEEN_POLLS = 1.0
LAST_LOG_SECONDS = 20.0
"""Seconds to wait for the last lines of a log after the run has ended."""
MOST_FAILED_POLLS = 60
"""Number of polls in a row without a response after which the cluster counts as lost."""
POLLS_AFTER_THE_END = 5
"""Number of polls after the end of a run during which broken logs are read again."""

Say = Callable[[str], None]


class _Log(threading.Thread):
    """Thread that prints one pod's log lines from a given time on. As a daemon, it ends with the program on Ctrl-C."""

    def __init__(self, cluster: Cluster, pod: str, say: Say, since: str | None) -> None:
        super().__init__(daemon=True)
        self._process, self._say, self._since = cluster.log(pod, since=since), say, since
        self.seen = since
        self.fault = ""

    @override
    def run(self) -> None:
        with self._process as process:
            for line in process.stdout or ():
                time, _, text = line.rstrip("\n").partition(" ")
                if self._since is None or time > self._since:  # --since-time has a resolution of one second
                    self.seen = time
                    self._say(text)
            errors = process.stderr.read() if process.stderr else ""
            if process.wait():
                self.fault = last_line(errors)

    def stop(self) -> None:
        """End the kubectl process of the log."""
        self._process.terminate()
        self._process.wait()


@dataclass(frozen=True, kw_only=True)
class Follower:
    """Follows one run to its end. `note` and `log` are called from several threads."""

    cluster: Cluster
    runs: Callable[[], Sequence[Run]]
    """Function that returns the cluster's runs; the followed run is one of them unless it was deleted."""
    job: str
    """Name of the run's Job."""
    note: Say
    """Function that prints a line about the state of the run."""
    log: Say
    """Function that prints a line of the run's log."""
    pause: Callable[[float], object] = threading.Event().wait
    """Function that waits for some seconds between two polls."""
    _notes: dict[str, str] = field(default_factory=dict[str, str])
    _logs: dict[str, _Log] = field(default_factory=dict[str, _Log])

    def until_the_end(self) -> Run:
        """Return the run after it has ended and its logs are complete. RunsError if it is deleted."""
        try:
            return self._until_the_end()
        finally:
            for log in self._logs.values():
                log.stop()

    def _until_the_end(self) -> Run:
        failed_polls, after_the_end = 0, 0
        while True:
            try:
                run = self.poll()
            except ClusterError as error:
                failed_polls += 1
                self._note_change("the cluster", f"does not respond: {error}")
                if failed_polls == MOST_FAILED_POLLS:
                    raise
            else:
                failed_polls = 0
                after_the_end += run.has_ended
                if run.has_ended and (self._logs_are_complete(run) or after_the_end == POLLS_AFTER_THE_END):
                    return run
            self.pause(SECONDS_BETWEEN_POLLS)

    def poll(self) -> Run:
        """Return the present state of the run, and print what has changed."""
        found = [run for run in self.runs() if run.name == self.job]
        if not found:
            raise RunsError(
                f"the Job {self.job} is gone: a person deleted it, or Kubernetes removed it from the history; "
                "`mlops runs` lists what is known of it"
            )
        (run,) = found
        for pod in run.pods:
            self._note_change(pod.name, pod.summary)
            if pod.has_started:
                self._keep_log(pod, f"[{pod.index}] " if run.points else "")
        if not run.pods and not run.has_ended:
            self._note_change(run.name, ": ".join(["no pod yet", *self.cluster.warnings(run.name)[-1:]]))
        return run

    def _logs_are_complete(self, run: Run) -> bool:
        """Wait for the last lines of the logs, and return False if the connection to one broke."""
        logs = [self._logs[pod.name] for pod in run.pods if pod.name in self._logs]
        for log in logs:
            log.join(LAST_LOG_SECONDS)
        return not any(log.fault for log in logs)

    def _note_change(self, name: str, text: str) -> None:
        if self._notes.get(name) != text:
            self._notes[name] = text
            self.note(f"{name} {text}")

    def _keep_log(self, pod: Pod, prefix: str) -> None:
        """Follow the log of a pod; after a broken connection, follow it again."""
        log = self._logs.get(pod.name)
        if log and log.fault:
            self._note_change(f"{pod.name} log", log.fault)
        if log is None or (not log.is_alive() and (log.fault or pod.exit_code is None)):
            log = _Log(self.cluster, pod.name, lambda line: self.log(prefix + line), log.seen if log else None)
            self._logs[pod.name] = log
            log.start()
