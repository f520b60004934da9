"""Function behind `mlops release --steps`: a version gets a growing share of the callers, and goes back if it is worse.

The state is the stack file alone: each step writes it and updates the stack. A command that was killed is run again.
"""

import json as jsons
import os
import re
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from datetime import timedelta
from itertools import pairwise
from pathlib import Path
from typing import cast

from rich.console import Console
from rich.status import Status

from cli import proposal, release, target, watch
from cli.comment import tell
from cli.errors import CommandError, pull_request_errors
from contract import names
from contract.exit_codes import ExitCode
from experiments import guardrails
from experiments.guardrails import Counter, Limits, Watch
from model_preview.markdown import escape
from pull_requests import stack_file
from pull_requests.github import GitHub, Repository
from pull_requests.proposal import Base, Proposal, propose, read_base
from pull_requests.stack_file import Challenger, StackFile
from runs import pod_metrics
from runs.cluster import Cluster
from runs.errors import ClusterError

ALL = 100
"""Last share: the version is the served one, and there is no challenger."""
MOST_PERCENT = 50
"""Largest share of a challenger."""
SHORTEST, LONGEST = timedelta(seconds=1), timedelta(days=2)
"""Shortest and longest hold."""
LOOK_SECONDS = 15
"""Largest number of seconds between two looks at the counters."""
PATIENCE_SECONDS = 120
"""Seconds after the end of a hold within which the counters must be readable again."""
STDERR = 2
"""File descriptor of stderr, which gets the output of `pulumi up`."""
_HOLD = re.compile(r"(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?")
Read = Callable[[], Sequence[Counter]]


@dataclass(frozen=True, kw_only=True)
class Options:
    """Options of the command, as its help explains them."""

    steps: Sequence[int]
    hold: timedelta
    key: str | None
    experiment: str | None
    digest: str | None
    limits: Limits
    prometheus: str | None
    context: str | None
    tracking_uri: str | None
    pull_request: bool
    dry_run: bool
    json: bool


@dataclass(frozen=True, kw_only=True)
class Seen:
    """Figures of one hold, as the JSON report has them."""

    percent: int
    seconds: float
    champion: dict[str, object]
    challenger: dict[str, object]
    assigned: int
    figures: str
    """All of this in words."""
    breaches: tuple[str, ...] = ()


@dataclass(kw_only=True)
class _Report:
    endpoint: str
    version: int
    stack: str
    holds: list[Seen] = field(default_factory=list[Seen])
    percent: int = 0
    outcome: str = "stopped"


def steps(text: str) -> Sequence[int]:
    """Return the shares in percent. CommandError if they do not rise, or a challenger cannot have one of them."""
    try:
        shares = [int(each) for each in text.split(",")]
    except ValueError:
        shares = []
    rising = all(one < other for one, other in pairwise(shares))
    if shares and rising and all(1 <= each <= MOST_PERCENT or each == ALL for each in shares):
        return shares
    raise CommandError(
        f"--steps {text} is not a list of rising shares; a challenger answers 1 to {MOST_PERCENT} percent of the "
        f"callers, and {ALL} makes it the served version; write it as in --steps 1,10,50,100"
    )


def duration(text: str) -> timedelta:
    """Return the time of a hold. CommandError if it is no time, or too short or too long."""
    found = _HOLD.fullmatch(text)
    hours, minutes, seconds = (int(each or 0) for each in found.groups()) if found else (0, 0, 0)
    hold = timedelta(hours=hours, minutes=minutes, seconds=seconds)
    if SHORTEST <= hold <= LONGEST:
        return hold
    raise CommandError(
        f"--hold {text} is not a time from {SHORTEST.seconds}s to {LONGEST.days * 24}h; the challenger is watched for "
        "so long at each share; write it as in 10m, 90s or 1h30m"
    )


def run(endpoint: str, version: int, stack: str | None, options: Options) -> None:
    """Raise the share of a version step by step, and restore the share before if it breaks a guardrail.

    Args:
        endpoint: name of the endpoint.
        version: number of the version.
        stack: name of the stack; None: the one that Pulumi has selected.
        options: how to release.
    """
    name = stack or target.selected_stack(Path.cwd())
    path = release.locate(name)
    with ExitStack() as opened:
        github, base = None, None
        if options.pull_request and not options.dry_run:
            opened.enter_context(pull_request_errors())
            github = opened.enter_context(GitHub(Repository.from_environment(os.environ), tell=tell))
            base = read_base(github, proposal.in_repository(path))
        found = _Release(
            path, name, endpoint, version=version, file=base.file if base else release.read(path), options=options
        )
        if options.dry_run:
            found.show()
            return
        try:
            if github and base:
                found.propose(github, base)
            else:
                found.go()
        finally:
            if options.json:
                print(jsons.dumps(asdict(found.report), indent=1))


class _Release:
    """Release of one version, between two changes of the stack file."""

    def __init__(
        self, path: Path, stack: str, endpoint: str, *, version: int, file: StackFile, options: Options
    ) -> None:
        self._path, self._file, self._stack, self._endpoint, self._options = path, file, stack, endpoint, options
        self._version = version
        with pull_request_errors():
            self._entry = file.entry(endpoint)
            self._wanted = self._challenger(file)
        self._objective = _objective(file, endpoint)
        self._console = Console(stderr=True, highlight=False, soft_wrap=True)
        self.report = _Report(endpoint=endpoint, version=version, stack=stack, percent=self._share(file))

    def show(self) -> None:
        """Print the difference of each step."""
        before, share = self._file, self.report.percent
        with pull_request_errors():
            for step in self._next(share):
                after = self._at(before, step)
                print(f"{self._endpoint}: {share} % -> {step} %")
                print(release.difference(before, after), end="")
                before, share = after, step
        print(f"{self._path.name}: nothing was changed")

    def go(self) -> None:
        """Make all steps. CommandError if one is taken back, or was not judged."""
        share = self.report.percent
        with ExitStack() as stack:
            read = self._counters(stack) if share < ALL else list
            if share:
                self._tell(f"{self._path.name} has version {self._version} at {share} % already; the stack gets it")
                if code := self._up():
                    raise CommandError(
                        f"`pulumi up` failed with exit code {code}, and {self._path.name} is as before; correct the "
                        "cause, and run the same command again",
                        ExitCode.FAILED,
                    )
            if 0 < share < ALL and (why := self._hold(read, share)):
                self._go_back(share, self._before(share), why)
            for step in self._next(share):
                self._step(share, step)
                if step < ALL and (why := self._hold(read, step)):
                    self._go_back(step, self._before(step), why)
                share = step
        done = f"is served to all; {self._path.name} has it, commit it" if share == ALL else f"stays at {share} %"
        self.report.outcome = "done"
        self._tell(f"{self._endpoint}: version {self._version} {done}")

    def propose(self, github: GitHub, base: Base) -> None:
        """Open the pull request of the next step, or of the share before. CommandError for the latter."""
        share, why = self.report.percent, ""
        if 0 < share < ALL:
            with ExitStack() as stack:
                why = self._hold(self._counters(stack), share)
        wanted = self._before(share) if why else next(iter(self._next(share)), share)
        if wanted == share:
            self.report.outcome = "done"
            self._tell(f"{base.file.name}: {self._endpoint} has version {self._version} at {share} %; no step is left")
            return
        with pull_request_errors():
            made = Proposal(
                stack=self._stack,
                base=base,
                entry=base.file.entry(self._endpoint),
                version=self._version,
                percent=wanted,
                after=self._at(base.file, wanted),
                report=_text(self.report, why),
            )
            done = propose(github, made)
        print(f"{done.url}: {made.title} ({done.done})", file=sys.stderr if self._options.json else sys.stdout)
        if why:
            self.report.outcome = "taken back"
            raise CommandError(f"{self._endpoint}: {why}; merge {done.url} to go back", ExitCode.REFUSED)
        self.report.outcome = "proposed"

    def _next(self, share: int) -> Sequence[int]:
        return [step for step in self._options.steps if step > share]

    def _before(self, share: int) -> int:
        return max((step for step in self._options.steps if step < share), default=0)

    def _challenger(self, file: StackFile) -> Challenger:
        """Return the challenger as the stack file should have it. CommandError if another one stands there."""
        options, entry, standing = self._options, self._entry, file.challenger(self._endpoint)
        where = f"{file.name}: {self._endpoint}"
        if standing and standing.version != self._version:
            raise CommandError(
                f"{where} has version {standing.version} as its challenger, and an endpoint has one at a time; end "
                f"that experiment first, or write `mlops release {self._endpoint} {standing.version} --steps ...`"
            )
        for option, given in (("key", options.key), ("experiment", options.experiment)):
            if standing and given and given != getattr(standing, option):
                raise CommandError(
                    f"--{option} {given} differs from {getattr(standing, option)}, the {option} of the running "
                    f"experiment in {where}; callers would change their version; leave the option out"
                )
        if standing:
            return standing
        if not options.key and entry.version != self._version:
            raise CommandError(
                f"{where} has no challenger yet, and callers are split by a request header; write --key with the "
                "header in which your clients send the customer or the account, as in --key X-Customer-Id"
            )
        stated = stack_file.digest(options.digest) if options.digest else None
        if stated is None and file.needs_digest(entry) and entry.version != self._version:
            stated = release.registered_digest(entry, self._version, options.tracking_uri)
        return Challenger(
            version=self._version,
            digest=stated,
            percent=1,
            key=options.key or "",
            experiment=options.experiment or f"release-{entry.version}-{self._version}",
        )

    def _share(self, file: StackFile) -> int:
        """Return the share of the version in percent, as the stack file declares it."""
        standing = file.challenger(self._endpoint)
        if file.entry(self._endpoint).version == self._version:
            return ALL
        return standing.percent if standing and standing.version == self._version else 0

    def _at(self, file: StackFile, share: int) -> StackFile:
        """Return the stack file with this share of the version."""
        endpoint = self._endpoint
        if share == ALL:
            return file.challenge(endpoint, None).release(endpoint, self._version, self._wanted.digest)
        if file.entry(endpoint).version == self._version:
            file = file.release(endpoint, self._entry.version, self._entry.digest)
        wanted = self._wanted.model_copy(update={"percent": share})
        return file.challenge(endpoint, wanted if share else None)

    def _write(self, expected: int, share: int) -> None:
        """Write the share into the stack file. CommandError if somebody else changed it meanwhile."""
        with pull_request_errors():
            before = release.read(self._path)
            if (now := self._share(before)) != expected:
                raise CommandError(
                    f"{self._path.name} has version {self._version} of {self._endpoint} at {now} %, and this command "
                    f"left it at {expected} %: somebody changed it, so the release stops; run `pulumi up`, and the "
                    "same command again to go on from there",
                    ExitCode.FAILED,
                )
            after = self._at(before, share)
        self._tell(release.difference(before, after).rstrip())
        # A killed command leaves the file before or the file after the step.
        new = self._path.with_name(f".{self._path.name}.new")
        new.write_bytes(after.text.encode())
        shutil.copymode(self._path, new)
        new.replace(self._path)
        self.report.percent = share

    def _step(self, before: int, share: int) -> None:
        self._tell(f"{self._endpoint}: version {self._version} from {before} % to {share} %")
        self._write(before, share)
        if share == ALL:
            release.warn(self._entry, self._path.name)
        if code := self._up():
            self._go_back(share, before, f"`pulumi up` failed with exit code {code} at {share} %")

    def _go_back(self, share: int, before: int, why: str) -> None:
        """Restore the share before, and raise CommandError with the reason."""
        self._tell(f"{why}; back to {before} %")
        self._write(share, before)
        restored = f"the share is {before} % again" if before else "the challenger is removed"
        self.report.outcome = "taken back"
        if code := self._up():
            raise CommandError(
                f"{self._endpoint}: {why}; {self._path.name} has {before} % again, but `pulumi up` failed with exit "
                f"code {code}, so the stack may have {share} %; run {shlex.join(self._update)}",
                ExitCode.FAILED,
            )
        raise CommandError(f"{self._endpoint}: {why}; {restored}, in {self._path.name} too", ExitCode.REFUSED)

    @property
    def _update(self) -> Sequence[str]:
        return ["pulumi", "up", "--yes", "--skip-preview", "--non-interactive", "--stack", self._stack]

    def _up(self) -> int:
        """Update the stack, and return the exit code. Its output goes to stderr."""
        try:
            engine = subprocess.Popen(
                self._update,
                cwd=self._path.parent,
                env=target.engine(self._stack),
                stdin=subprocess.DEVNULL,
                stdout=STDERR,
            )
        except FileNotFoundError as missing:
            raise CommandError("pulumi is not on PATH, but each step is an update; install pulumi") from missing
        with engine:
            try:
                return engine.wait()
            except KeyboardInterrupt:
                engine.wait()  # it got the signal too, and ends in order
                raise

    def _hold(self, read: Read, share: int) -> str:
        """Watch the version at a share, and return the guardrails that it broke. CommandError for too few requests."""
        options, limits = self._options, self._limits()
        start = time.monotonic()
        end = start + options.hold.total_seconds()
        every = min(LOOK_SECONDS, max(1.0, options.hold.total_seconds() / 30))
        seen = Watch(read())
        with self._console.status("") as status:
            while (left := end - time.monotonic()) > 0:
                self._progress(status, seen, share, left)
                time.sleep(min(every, left))
                is_last = end - time.monotonic() <= 0
                seen.add(_patiently(read) if is_last else _if_readable(read))
                if not is_last and (broken := seen.breaches(limits, share, early=True)):
                    break
            else:
                broken = [] if seen.challenger.requests < limits.least else seen.breaches(limits, share, early=False)
        passed = time.monotonic() - start
        self.report.holds.append(_seen(seen, share, passed, tuple(each.sentence for each in broken)))
        self._tell(f"{share} % for {_short(passed)}: {_figures(seen)}")
        if not broken and seen.challenger.requests < limits.least:
            raise CommandError(_too_few(self._endpoint, seen, share, options), ExitCode.FAILED)
        return "; ".join(each.sentence for each in broken)

    def _limits(self) -> Limits:
        limits = self._options.limits
        if limits.p95_seconds is None and self._objective:
            return Limits(errors=limits.errors, p95_seconds=self._objective, least=limits.least)
        return limits

    def _counters(self, stack: ExitStack) -> Read:
        """Return the function that reads all counters, after it has worked once.

        Model servers are read from Prometheus if the stack or an option names one, routers always from their pods.
        """
        file = self._file
        cluster = Cluster(context=self._options.context or _context(file), environment=target.engine(self._stack))
        servers = ",".join((names.SERVERS[guardrails.CHAMPION], names.SERVERS[guardrails.CHALLENGER]))
        url = self._options.prometheus
        query = stack.enter_context(watch.prometheus(url, lambda: cluster)) if url or _has_prometheus(file) else None

        def pods(kinds: str) -> list[Counter]:
            texts = pod_metrics.read(cluster, self._endpoint, kinds)
            return [counter for pod, text in texts.items() for counter in guardrails.parsed(pod, text)]

        def read() -> list[Counter]:
            if query is None:
                return pods(f"{names.ROUTERS},{servers}")
            return [*pods(names.ROUTERS), *guardrails.of_prometheus(query(guardrails.query(self._endpoint)))]

        if not read():
            raise CommandError(
                f"no pod of {self._endpoint} counts requests, so nothing could be watched; run `pulumi up` first, or "
                "name another cluster with --context or --prometheus",
                ExitCode.FAILED,
            )
        return read

    def _progress(self, status: Status, seen: Watch, share: int, left: float) -> None:
        status.update(f"{share} %, {_short(left)} left: {_figures(seen)}")

    def _tell(self, text: str) -> None:
        self._console.print(text, markup=False)


def _objective(file: StackFile, endpoint: str) -> float | None:
    """Return the objective of the endpoint for the 95th percentile in seconds; None if it has none."""
    found = _mapping(file.written(endpoint).get("objectives")).get("p95_ms")
    return found / 1000 if isinstance(found, int | float) else None


def _context(file: StackFile) -> str | None:
    """Return the context of the kubeconfig that the stack file names; None: the current one."""
    found = _mapping(file.config().get("mlops:foundation")).get("context")
    return found if isinstance(found, str) else None


def _has_prometheus(file: StackFile) -> bool:
    return _mapping(file.config().get("mlops:monitoring")).get("kind") == "cluster"


def _mapping(value: object) -> Mapping[str, object]:
    return cast("Mapping[str, object]", value) if isinstance(value, dict) else {}


def _if_readable(read: Read) -> Sequence[Counter]:
    """Return the counters; none if they cannot be read now, because the next look counts the same requests."""
    try:
        return read()
    except (ClusterError, CommandError):
        return ()


def _patiently(read: Read) -> Sequence[Counter]:
    """Return the counters at the end of a hold. CommandError if they cannot be read for PATIENCE_SECONDS."""
    end = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            return read()
        except (ClusterError, CommandError) as error:
            if time.monotonic() > end:
                raise CommandError(
                    f"the requests cannot be counted ({error}), so the step is not judged and the share stays; run the "
                    "same command again",
                    ExitCode.FAILED,
                ) from error
            time.sleep(1)


def _figures(seen: Watch) -> str:
    arms = {"champion": seen.champion, "challenger": seen.challenger}
    return ", ".join(
        f"{role} {arm.requests:,} requests, {arm.failed:,} failed, {arm.refused:,} refused"
        + (f", p95 {1000 * arm.p95:.1f} ms" if arm.p95 is not None else "")
        for role, arm in arms.items()
    )


def _seen(seen: Watch, share: int, seconds: float, breaches: tuple[str, ...]) -> Seen:
    def arm(found: guardrails.Arm) -> dict[str, object]:
        p95 = None if found.p95 is None else round(1000 * found.p95, 3)
        return {"requests": found.requests, "failed": found.failed, "refused": found.refused, "p95_ms": p95}

    return Seen(
        percent=share,
        seconds=round(seconds, 1),
        champion=arm(seen.champion),
        challenger=arm(seen.challenger),
        assigned=seen.assigned,
        figures=_figures(seen),
        breaches=breaches,
    )


def _text(report: _Report, why: str) -> str:
    """Return the text of a pull request, in Markdown."""
    lines = [f"- {hold.percent} % for {_short(hold.seconds)}: {hold.figures}" for hold in report.holds]
    reason = f"The challenger broke a guardrail: {escape(why)}." if why else "No guardrail was broken."
    head = [*lines, "", reason] if lines else ["The first step: no request was compared yet."]
    foot = "`mlops release --steps --pr` made this pull request. Run it again after the update, for the next step."
    return "\n".join([*head, "", foot])


def _too_few(endpoint: str, seen: Watch, share: int, options: Options) -> str:
    got, least, hold = seen.challenger.requests, options.limits.least, options.hold.total_seconds()
    more = f" for about {_short(hold * least / got)}" if got else " for longer"
    return (
        f"{endpoint}: the challenger had {got:,} requests in {_short(hold)} at {share} %, and {least:,} "
        f"{'is' if least == 1 else 'are'} needed to judge it, so the share stays {share} %; run the same command again with --hold{more}, or with fewer in "
        "--least"
    )


def _short(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    parts = ((hours, "h"), (minutes, "m"), (rest, "s"))
    return "".join(f"{number}{unit}" for number, unit in parts if number) or "0s"
