"""Function behind `mlops release --steps`: a version gets a growing share of the callers, and goes back if it is worse.

The state is the stack file alone: each step writes it and updates the stack. A command that was killed is run again.
"""

import json as jsons
import os
import shlex
import subprocess
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from datetime import timedelta
from itertools import pairwise
from pathlib import Path

from rich.console import Console

from cli import hold, proposal, release, target, watch
from cli.comment import tell
from cli.errors import CommandError, pull_request_errors
from cli.hold import Read
from contract.exit_codes import ExitCode
from experiments.guardrails import Limits
from model_preview.markdown import escape
from pull_requests import stack_file
from pull_requests.github import GitHub, Repository
from pull_requests.proposal import Base, Proposal, propose, read_base
from pull_requests.stack_file import Challenger, StackFile
from runs.cluster import Cluster

ALL = 100
"""Last share: the version is the served one, and there is no challenger."""
MOST_PERCENT = 50
"""Largest share of a challenger."""
STDERR = 2
"""File descriptor of stderr, which gets the output of `pulumi up`."""


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


@dataclass(kw_only=True)
class _Report:
    endpoint: str
    version: int
    stack: str
    holds: list[hold.Seen] = field(default_factory=list[hold.Seen])
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
        self._limits = hold.limits(file, endpoint, options.limits)
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
                        "cause (`pulumi cancel` ends the lock of a killed update), and run the same command again",
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
        """Write the share into the stack file. CommandError if another program changed the share meanwhile."""
        with pull_request_errors():
            before = release.read(self._path)
            if (now := self._share(before)) != expected:
                raise CommandError(
                    f"{self._path.name} has version {self._version} of {self._endpoint} at {now} %, and this command "
                    f"left it at {expected} %: another program or person changed it, so the release stops; run "
                    "`pulumi up`, and the same command again to continue from there",
                    ExitCode.FAILED,
                )
            after = self._at(before, share)
        self._tell(release.difference(before, after).rstrip())
        release.write(self._path, after)
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
                engine.wait()  # the engine got the signal too, and ends its update properly
                raise

    def _hold(self, read: Read, share: int) -> str:
        """Watch the version at a share, and return the guardrails that it broke. CommandError for too few requests."""
        length = self._options.hold.total_seconds()
        seen = hold.watch(read, share, length, self._limits, self._console)
        self.report.holds.append(seen)
        self._tell(f"{share} % for {hold.short(seen.seconds)}: {seen.figures}")
        got, least = seen.requests, self._limits.least
        if seen.breaches or got >= least:
            return "; ".join(seen.breaches)
        more = f"about {hold.short(length * least / got)}" if got else "a longer time"
        raise CommandError(
            f"{self._endpoint}: the challenger had {got:,} requests in {hold.short(length)} at {share} %, and "
            f"{least:,} or more are needed to judge it, so the share stays {share} %; run the same command again with "
            f"--hold of {more}, or with a smaller --least",
            ExitCode.FAILED,
        )

    def _counters(self, stack: ExitStack) -> Read:
        """Return the function that reads all counters, after it has worked once."""
        context = self._options.context or hold.context(self._file)
        cluster = Cluster(context=context, environment=target.engine(self._stack))
        url = self._options.prometheus
        is_needed = url or hold.has_prometheus(self._file)
        query = stack.enter_context(watch.prometheus(url, lambda: cluster)) if is_needed else None
        return hold.counters(cluster, self._endpoint, query)

    def _tell(self, text: str) -> None:
        self._console.print(text, markup=False)


def _text(report: _Report, why: str) -> str:
    """Return the text of a pull request, in Markdown."""
    lines = [f"- {one.percent} % for {hold.short(one.seconds)}: {one.figures}" for one in report.holds]
    reason = f"The challenger broke a guardrail: {escape(why)}." if why else "No guardrail was broken."
    head = [*lines, "", reason] if lines else ["The first step: no request was compared yet."]
    foot = "`mlops release --steps --pr` made this pull request. Run it again after the update, for the next step."
    return "\n".join([*head, "", foot])
