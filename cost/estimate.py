"""Estimate of a plan's price: by month, training run and endpoint, and the unit prices of usage."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import date
from itertools import chain

from pydantic import computed_field

from cost.plan import Plan
from cost.pods import Pod, Service, Work, agents, largest, services, work
from cost.pools import AUTO, MANAGED, Pool, pools
from cost.prices import HOURS, OLD_DAYS, Model, NotPricedError, Prices
from cost.resources import Line, Usage, priced
from cost.unpriced import Unpriced


class Run(Model):
    """Highest price of one run of a training, a validation or a batch, from its start to its deadline."""

    name: str
    usd: float
    hours: float
    """Deadline in hours, with all retries."""
    nodes: int
    node: str
    """Instance type and purchase option, such as `m7i.large on demand`."""
    spot_usd: float | None
    """Assumed price of the same run on spot instances; None if the pool has no spot or `usd` is on spot already."""


class Endpoint(Model):
    """Part of the monthly price that one endpoint causes: its pods' share of the nodes, and its load balancer."""

    name: str
    floor_usd: float
    """Monthly price with the fewest replicas."""
    ceiling_usd: float
    """Monthly price with the most replicas, on demand if the pool allows on-demand instances."""
    replicas: tuple[int, int]


class Estimate(Model):
    """Price of a stack in US dollars, for a month of 730 hours."""

    region: str | None
    prices_of: str | None
    """Region whose prices were used; None if nothing is estimated."""
    prices_date: date | None
    reason: str | None
    """Reason why nothing is estimated, and what to do about it; None if there is an estimate."""
    lines: Sequence[Line] = ()
    runs: Sequence[Run] = ()
    endpoints: Sequence[Endpoint] = ()
    usage: Sequence[Usage] = ()
    not_estimated: Sequence[Unpriced] = ()
    free: Sequence[str] = ()
    """Types of the plan's resources that have no price of their own."""
    warnings: Sequence[str] = ()

    @computed_field
    @property
    def floor_usd(self) -> float | None:
        """Monthly price without load, with the fewest nodes that hold the fewest replicas; None if not estimated."""
        return None if self.reason else sum(line.floor_usd for line in self.lines)

    @computed_field
    @property
    def ceiling_usd(self) -> float | None:
        """Monthly price with every node pool at its maximum all the time; None if not estimated."""
        return None if self.reason else sum(line.ceiling_usd for line in self.lines)


def estimate(plan: Plan, prices: Prices | None, *, today: date) -> Estimate:
    """Price the plan. Without a price table, every sum is None and `reason` says why."""
    if prices is None or not plan.on_aws:
        return Estimate(region=plan.region, prices_of=None, prices_date=None, reason=_obstacle(plan))
    found = priced(plan, prices)
    machines = _Machines(plan, prices)
    ways_in = {line.name: line.ceiling_usd for line in found.lines if line.kind == "load balancer"}
    lines, runs = list(machines.lines()), list(machines.runs())
    endpoints = list(machines.endpoints(ways_in))
    return Estimate(
        region=plan.region,
        prices_of=prices.region,
        prices_date=prices.date,
        reason=None,
        lines=[*found.lines, *lines],
        runs=runs,
        endpoints=endpoints,
        usage=found.usage,
        not_estimated=[*found.not_estimated, *machines.not_estimated],
        free=found.free,
        warnings=list(_warnings(plan, prices, machines.pools, today)),
    )


def _obstacle(plan: Plan) -> str:
    if not plan.on_aws:
        return "the plan has no resource of AWS: the cluster and its stores are yours, and have no price here"
    if plan.region is None:
        return "the plan does not name its AWS region; set aws:region in the stack file"
    return (
        f"{plan.region} has no price table; write one with `mlops cost --update-prices {plan.region}`, "
        "which needs credentials of an AWS account"
    )


def _warnings(plan: Plan, prices: Prices, pools: Iterable[Pool], today: date) -> Iterator[str]:
    if plan.region and plan.region != prices.region:
        yield f"the stack is in {plan.region}, and these are prices of {prices.region}"
    if (age := (today - prices.date).days) > OLD_DAYS:
        yield (f"the prices are {age} days old; renew them with `mlops cost --update-prices {prices.region}`")
    if any("spot" in pool.capacity for pool in pools):
        yield (
            f"the spot price is assumed to be {prices.spot_share:.0%} of the on-demand price; "
            "the AWS Price List has no spot prices"
        )
    for pool in pools:
        if pool.unpriced:
            yield f"node pool {pool.name}: {', '.join(pool.unpriced)} has no price in {prices.region} and is left out"


class _Machines:
    """Node pools of the plan, and the pods that run on them."""

    def __init__(self, plan: Plan, prices: Prices) -> None:
        self.not_estimated: list[Unpriced] = []
        self.pools = pools(plan, prices, self.not_estimated)
        self._services = services(plan, self.not_estimated)
        self._work = work(plan, self.not_estimated)
        self._agents = agents(plan, self.not_estimated)

    def lines(self) -> Iterator[Line]:
        """Yield the price of each pool: without load, of the nodes for resident pods; at most, of the full pool."""
        resident = {pool.name: list[Pod]() for pool in self.pools}
        for service in self._services:
            try:
                resident[self._home(service).name] += [service.pod] * service.least
            except NotPricedError as why:
                self._skip("kubernetes:apps/v1:Deployment", service.name, why)
        for pool in self.pools:
            try:
                yield self._line(pool, resident[pool.name])
            except NotPricedError as why:
                self._skip(AUTO if pool.auto else MANAGED, pool.name, why)

    def runs(self) -> Iterator[Run]:
        """Yield the price of each training, validation and batch on the most expensive pool that accepts it."""
        for job in self._work:
            try:
                yield self._run(job)
            except NotPricedError as why:
                self._skip("kubernetes:batch/v1:CronJob", job.name, why)

    def endpoints(self, load_balancers: dict[str, float]) -> Iterator[Endpoint]:
        """Yield the part of the price that each model endpoint causes."""
        for service in self._services:
            if not service.endpoint:
                continue
            try:
                yield self._endpoint(service, load_balancers.get(service.name, 0.0))
            except NotPricedError as why:
                self._skip("kubernetes:apps/v1:Deployment", service.name, why)

    def _line(self, pool: Pool, resident: Sequence[Pod]) -> Line:
        pods = [each.pod for each in chain(self._services, self._work)]
        top, most = pool.filled(largest([pod for pod in pods if pool.accepts(pod) and pool.has_room_for(pod)]))
        ceiling = top.usd_hour * most * HOURS
        if not pool.auto:
            ((name, kind),) = pool.choices[0].items()
            floor = pool.node(name, kind, spot=pool.spot_only).usd_hour * most * HOURS
            note = f"{most} {top.label}, all the time"
        elif resident:
            least, count = pool.packed(resident, self._agents)
            floor = least.usd_hour * count * HOURS
            note = f"{count} {least.label} to {most} {top.label}"
        else:
            floor, note = 0.0, f"0 to {most} {top.label}"
        return Line(kind=f"node pool {pool.name}", name=pool.name, floor_usd=floor, ceiling_usd=ceiling, note=note)

    def _skip(self, type_: str, name: str, why: NotPricedError) -> None:
        self.not_estimated.append(Unpriced(type=type_, name=name, why=str(why)))

    def _home(self, service: Service) -> Pool:
        """Return the managed node group, whose nodes run in any case, else the pool on which the pods are cheapest."""
        pod = service.pod
        return min(self._pools_of(pod), key=lambda pool: (pool.auto, pool.share(pod, spot=pool.spot_first)))

    def _run(self, job: Work) -> Run:
        nodes = [(pool, pool.dearest(job.pod)) for pool in self._pools_of(job.pod)]
        pool, node = max(nodes, key=lambda each: each[1].usd_hour)
        on_spot = pool.node(node.type_name, node.type, spot=True).usd_hour
        amount = job.parallel * job.hours
        return Run(
            name=job.name,
            usd=node.usd_hour * amount,
            hours=job.hours,
            nodes=job.parallel,
            node=node.label,
            spot_usd=on_spot * amount if pool.spot_first and not node.spot else None,
        )

    def _endpoint(self, service: Service, load_balancer: float) -> Endpoint:
        possible = self._pools_of(service.pod)
        least = min(pool.share(service.pod, spot=pool.spot_first) for pool in possible)
        most = max(pool.share(service.pod, spot=pool.spot_only) for pool in possible)
        return Endpoint(
            name=service.name,
            floor_usd=service.least * least * HOURS + load_balancer,
            ceiling_usd=service.most * most * HOURS + load_balancer,
            replicas=(service.least, service.most),
        )

    def _pools_of(self, pod: Pod) -> list[Pool]:
        """Return the pools on which the pod may run. NotPricedError if there is none."""
        if found := [pool for pool in self.pools if pool.accepts(pod) and pool.has_room_for(pod)]:
            return found
        asked = f"{pod.cpus:g} CPUs, {pod.memory_gib:g} GiB and {pod.gpus} GPUs"
        labels = ", ".join(f"{key}={value}" for key, value in pod.selector.items())
        where = f"with the labels {labels}" if labels else "without a taint"
        raise NotPricedError(f"no node pool {where} has an instance type with a price for {asked}")
