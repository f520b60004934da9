"""Checks of the metrics that a team's own script logged, for a version without a model project."""

from collections.abc import Iterator, Mapping

from contract.tasks import ERRORS, SHARES, better
from training.validation.limits import Limits
from training.validation.verdict import Check

Metrics = Mapping[str, float]


def logged(new: int, old: int | None, metrics: Mapping[int, Metrics], limits: Limits) -> Iterator[Check]:
    """Check the metrics of a version against the limits that the user set; the defaults of projects do not apply.

    Args:
        new: version to validate.
        old: champion; None if there is none.
        metrics: metrics that each version's run logged.
        limits: limits of the validation.
    """
    own, given = metrics[new], limits.model_fields_set
    listed = ", ".join(f"{name} {value:.4g}" for name, value in sorted(own.items())) or "no metric"
    said = f"a script made the version, so that no rows are held out to measure it on; its run logged {listed}"
    yield Check(name="metrics", outcome="noted", said=said)
    least: Metrics = limits.least if "least" in given else {}
    for name, limit in least.items():
        yield _limited(name, own, f"at least {limit:g}", own.get(name, limit) >= limit)
    for name, limit in limits.most.items():
        yield _limited(name, own, f"at most {limit:g}", own.get(name, limit) <= limit)
    if old is None:
        yield Check(name="champion", outcome="noted", said="there is no champion to compare with")
        return
    for name in limits.compared if "compared" in given else ():
        yield _compared(name, own, metrics[old], old, limits)


def _limited(name: str, own: Metrics, rule: str, within: object) -> Check:
    if name not in own:
        said = f"its run logged no {name}, which must be {rule}; add mlflow.log_metric('{name}', ...) to the script"
        return Check.of(name, [said], "")
    said = f"{name} is {own[name]:.4g}, as its run logged it"
    return Check.of(name, [] if within else [f"{said}, and must be {rule}"], f"{said}, {rule}")


def _compared(name: str, own: Metrics, other: Metrics, old: int, limits: Limits) -> Check:
    """Compare the metric with the champion's; it is better when smaller if `most` limits it."""
    smaller, allowed = ERRORS | set(limits.most), limits.any_loss
    title = f"{name} compared with the champion"
    if name not in own or name not in other:
        said = f"{name} cannot be compared with version {old}, because a run did not log it; log it in the script"
        return Check.of(title, [said], "")
    lost = own[name] - other[name] if name in smaller else other[name] - own[name]
    share = lost / abs(other[name]) if name not in SHARES and other[name] else lost
    said = f"{better(name, smaller)} {own[name]:.4g} after {other[name]:.4g} of version {old}, as their runs logged it"
    return Check.of(title, [f"{said}: worse by more than {allowed:g}"] if share > allowed else [], said)
