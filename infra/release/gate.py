"""Gate in front of each release, as hooks of the endpoints' Deployments and the batches' CronJobs.

`pulumi preview` and `pulumi up` run the hooks before they change such an object, so that no command can skip the gate.
A preview also shows what changes in the model. The stack's own state says what is served and what was served before;
MLflow is asked once, about all versions that change, and only then. Names are those of `Settings.releases`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import pulumi
from pulumi import Input, Output, ResourceHook, ResourceHookArgs, ResourceHookBinding, ResourceHookOptions

from components.endpoint.experiments import Experiment, reuse
from components.endpoint.release import Files, Release
from components.foundation import ClusterAccess
from infra.config.stack import Settings
from infra.release import record, settings
from infra.release.record import Recorded
from infra.release.settings import Environment
from infra.release.tracking import Route
from model_preview.images import AUTO

if TYPE_CHECKING:
    from model_preview.preview import Preview

NO_MLFLOW = "MLflow does not exist before the first update"
"""Reason why the preview of a new stack verifies nothing."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Releases of one update."""

    recorded: Recorded
    """Releases that the state records."""
    files: Mapping[str, Files]
    """Files of each version, by name of its release; absent if they are not known."""
    previews: "Mapping[str, Preview]" = field(default_factory=dict[str, "Preview"])
    """Decision about each release that changes, by name; also about removed ones."""
    unknown: str = ""
    """Reason why MLflow could not be read; empty if it was, or was not asked."""


def is_before_mlflow(recorded: Recorded, environment: Environment) -> bool:
    """Return whether this is the preview of the update that creates MLflow, which cannot verify a version."""
    return pulumi.runtime.is_dry_run() and not (recorded.has_tracking or environment.tracking_uri)


class RefusedReleaseError(Exception):
    """The gate refuses the release; the message is one line, because the engine prints it several times."""


class ReleaseGate:
    """Gate of all endpoints and batches of a stack."""

    def __init__(
        self, stack: Settings, access: ClusterAccess, tracking_url: Input[str], bucket: Input[str], checkout: Path
    ) -> None:
        self._stack = stack
        self._tracking_url = Output.from_input(tracking_url)
        self._bucket = Output.from_input(bucket)
        self._checkout = checkout
        self._environment = settings.read()
        self._route = Route(
            uri=self._environment.tracking_uri,
            token=self._environment.tracking_token,
            access=access,
            is_authenticated=stack.tracking.authenticated,
        )
        self._plan = Output.from_input(self._make_plan())
        before = ResourceHook("release-gate", self._before, ResourceHookOptions(on_dry_run=True))
        after = ResourceHook("release-record", self._after)
        self.hooks = ResourceHookBinding(
            before_create=[before], before_update=[before], after_create=[after], after_update=[after]
        )
        """Hooks for the Deployment of each version that an endpoint runs, and the CronJob of each batch."""
        known_name = ResourceHook("experiment-gate", self._before_experiment, ResourceHookOptions(on_dry_run=True))
        self.experiment_hooks = ResourceHookBinding(before_create=[known_name], before_update=[known_name])
        """Hooks for the Deployment of each router."""

    def files(self, name: str) -> Output[Files]:
        """Return the files of a release's version; in a preview without MLflow they may be empty."""
        return self._plan.apply(lambda plan: plan.files.get(name, Files()))

    def history(self, name: str) -> Output[Sequence[Release]]:
        """Return the former releases of the endpoint, the oldest first."""
        return self._plan.apply(lambda plan: plan.recorded.past(name))

    def experiments(self, name: str) -> Output[Sequence[Experiment]]:
        """Return the experiments that the endpoint has run, the oldest first."""
        return self._plan.apply(lambda plan: plan.recorded.experiments.get(name, ()))

    async def _before_experiment(self, args: ResourceHookArgs) -> None:
        """Refuse an experiment whose name the endpoint has used for other versions."""
        plan, (name, _, _) = await self._plan.future(), args.name.rpartition("-")
        endpoint = self._stack.endpoints[name]
        if plan and (challenger := endpoint.challenger):
            present = Experiment(name=challenger.experiment, champion=endpoint.version, challenger=challenger.version)
            if why := reuse(name, present, plan.recorded.experiments.get(name, ())):
                raise RefusedReleaseError(why)

    async def _make_plan(self) -> Plan:
        """Return the plan. What only a release needs is imported by a release."""
        recorded = await record.read()
        files = {
            name: found
            for name, each in self._stack.releases.items()
            if (served := recorded.served.get(name))
            and served.has(*(wanted := (each.model, each.version, each.digest)))
            and (found := recorded.files(name, *wanted))
            and bool(found.image) == (each.image == AUTO)
        }
        is_unchanged = files.keys() == self._stack.releases.keys() == recorded.served.keys()
        if (is_unchanged or is_before_mlflow(recorded, self._environment)) and not self._is_report:
            return Plan(recorded=recorded, files=files)
        from infra.release.verification import verify

        plan = await verify(
            self._stack,
            recorded,
            self._environment,
            self._route,
            self._tracking_url,
            bucket=self._bucket,
            checkout=self._checkout,
        )
        for name, found in plan.previews.items():
            if name not in self._stack.releases:  # no hook runs for what is removed
                pulumi.log.info(found.verdict.line)
        return plan

    @property
    def _is_report(self) -> bool:
        """True in a preview whose result is for `mlops preview`, which refuses by itself."""
        return pulumi.runtime.is_dry_run() and self._environment.model_report is not None

    async def _before(self, args: ResourceHookArgs) -> None:
        plan = await self._plan.future()
        if plan is None:
            return
        if is_before_mlflow(plan.recorded, self._environment):
            version = self._stack.releases[args.name].version
            pulumi.log.warn(
                f"{args.name}: this preview cannot verify version {version}, because {NO_MLFLOW}; "
                "`pulumi up` verifies it"
            )
            return
        found = plan.previews.get(args.name)
        if found and not self._is_report:
            if pulumi.runtime.is_dry_run():
                from model_preview.terminal import text

                pulumi.log.info(text(found))
            else:
                pulumi.log.info(found.verdict.line)
            if found.verdict.fails:
                raise RefusedReleaseError(found.verdict.sentence)
        if args.name not in plan.files:
            version, served = self._stack.releases[args.name].version, plan.recorded.served.get(args.name)
            is_former = served is not None and served.version == version and not served.source
            unknown = (
                f"{args.name}: the files of version {version} are not known, because "
                f"{'a former program released it' if is_former else 'this stack has not released it before'} and "
                f"{plan.unknown or 'the registry does not name them'}; "
                "`pulumi up` needs them, so run it when MLflow responds"
            )
            if not pulumi.runtime.is_dry_run():
                raise RefusedReleaseError(unknown)
            pulumi.log.warn(unknown)

    async def _after(self, args: ResourceHookArgs) -> None:
        """Tell MLflow about the release; a release does not fail because MLflow is away."""
        plan = await self._plan.future()
        # A challenger, a shadow or a batch makes no champion.
        if plan is None or args.name not in self._stack.endpoints:
            return
        found = plan.previews.get(args.name)
        if found is None and not plan.recorded.is_unfinished(args.name):
            return
        from infra.release import champion
        from model_preview.verdict import Kind

        endpoint, model = self._stack.endpoints[args.name], self._stack.served_model(args.name)
        is_champion = self._stack.champion_endpoint(model) == args.name
        try:
            lines = await champion.write(
                self._route,
                model,
                endpoint.version,
                stack=pulumi.get_stack(),
                is_champion=is_champion,
                is_rollback=bool(found and found.verdict.kind is Kind.ROLLBACK),
                override=endpoint.override or "",
            )
        except champion.UnwrittenError as error:
            pulumi.log.warn(
                f"{args.name}: version {endpoint.version} is released, but the registry does not know it, because "
                f"{error}; the next release of the endpoint writes its own version"
            )
        else:
            if lines:
                pulumi.log.info(f"{model}: {'; '.join(lines)}")
