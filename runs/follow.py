"""A run from the outside, until it ends: what its pods are at, and what they write."""

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from typing_extensions import override

from runs.cluster import Cluster, last_line
from runs.errors import ClusterError, RunsError
from runs.state import Pod, Run

SECONDS_BETWEEN_LOOKS = 1.0
LAST_LOG_SECONDS = 20.0
LOOKS_WITHOUT_ANSWER = 60
LOOKS_AFTER_THE_END = 5

Say = Callable[[str], None]


class _Log(threading.Thread):
    """Tells the lines of one pod from a time on. A daemon, so that Ctrl-C need not wait for the next line."""

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
                if self._since is None or time > self._since:  # the cluster looks at whole seconds
                    self.seen = time
                    self._say(text)
            said = process.stderr.read() if process.stderr else ""
            if process.wait():
                self.fault = last_line(said)

    def stop(self) -> None:
        """Its program does not outlive this one."""
        self._process.terminate()
        self._process.wait()


@dataclass(frozen=True, kw_only=True)
class Follower:
    """Follows the run `job`, which is one of `runs` as long as it is there.

    `note` is told what the cluster does, `log` what the run writes; they are called from several threads.
    """

    cluster: Cluster
    runs: Callable[[], Sequence[Run]]
    job: str
    note: Say
    log: Say
    pause: Callable[[float], object] = threading.Event().wait
    _words: dict[str, str] = field(default_factory=dict[str, str])
    _logs: dict[str, _Log] = field(default_factory=dict[str, _Log])

    def until_the_end(self) -> Run:
        """The run once it has ended and all that it wrote was told. RunsError if it is deleted meanwhile."""
        try:
            return self._until_the_end()
        finally:
            for log in self._logs.values():
                log.stop()

    def _until_the_end(self) -> Run:
        unanswered, after_the_end = 0, 0
        while True:
            try:
                run = self.look()
            except ClusterError as error:
                unanswered += 1
                self._tell("the cluster", f"does not answer: {error}")
                if unanswered == LOOKS_WITHOUT_ANSWER:
                    raise
            else:
                unanswered = 0
                after_the_end += run.has_ended
                if run.has_ended and (self._all_is_told(run) or after_the_end == LOOKS_AFTER_THE_END):
                    return run
            self.pause(SECONDS_BETWEEN_LOOKS)

    def look(self) -> Run:
        """The run as it is; what is new of it is told."""
        found = [run for run in self.runs() if run.name == self.job]
        if not found:
            raise RunsError(f"there is no Job {self.job} any more: somebody deleted it, or its history is over")
        (run,) = found
        for pod in run.pods:
            self._tell(pod.name, pod.words)
            if pod.has_started:
                self._keep_log(pod, f"[{pod.index}] " if run.points else "")
        if not run.pods and not run.has_ended:
            self._tell(run.name, ": ".join(["no pod yet", *self.cluster.warnings(run.name)[-1:]]))
        return run

    def _all_is_told(self, run: Run) -> bool:
        """Waits for the rest of the logs; False when the connection to one broke."""
        logs = [self._logs[pod.name] for pod in run.pods if pod.name in self._logs]
        for log in logs:
            log.join(LAST_LOG_SECONDS)
        return not any(log.fault for log in logs)

    def _tell(self, name: str, words: str) -> None:
        if self._words.get(name) != words:
            self._words[name] = words
            self.note(f"{name} {words}")

    def _keep_log(self, pod: Pod, prefix: str) -> None:
        """Its log is followed, anew after a broken connection."""
        log = self._logs.get(pod.name)
        if log and log.fault:
            self._tell(f"{pod.name} log", log.fault)
        if log is None or (not log.is_alive() and (log.fault or pod.exit_code is None)):
            log = _Log(self.cluster, pod.name, lambda line: self.log(prefix + line), log.seen if log else None)
            self._logs[pod.name] = log
            log.start()
