"""Facts of made-up versions, for the pure parts."""

from typing import Any

from contract.stages import Stage
from model_preview import diff, preview
from model_preview.diff import ModelDiff
from model_preview.facts import (
    Change,
    Check,
    Column,
    Estimate,
    Facts,
    Limits,
    Model,
    Reference,
    Report,
    Scores,
    Signature,
    Slice,
    Version,
)
from model_preview.preview import Preview
from model_preview.verdict import Gate

MODEL = "churn-predictor"
IMAGE = {"numpy": "2.4.6", "scikit-learn": "1.9.1", "scipy": "1.17.1"}
PROTECTED, UNPROTECTED = Gate(protected=True), Gate()


def signature(**kinds: str) -> Signature:
    """Required columns of these kinds; a `?` before the kind makes one optional. The answer is a string."""
    columns = (Column(name=n, kind=k.removeprefix("?"), required=not k.startswith("?")) for n, k in kinds.items())
    return Signature(inputs=tuple(columns), outputs=(Column(name="#0", kind="string"),))


def version(number: int, **told: Any) -> Version:
    """A version that passed against the one before it."""
    given: dict[str, Any] = {
        "model": MODEL,
        "number": number,
        "digest": f"{number}" * 64,
        "signature": signature(tenure="long", contract="string"),
        "requirements": ("numpy==2.4.6", "scikit-learn==1.9.1"),
        "validation_status": "passed",
        "validated_against": str(number - 1),
    }
    return Version.model_validate(given | told)


def estimate(value: float, spread: float = 0.01) -> Estimate:
    return Estimate(value=value, low=value - spread, high=value + spread)


def scores(own: float, other: float | None = None, rows: int = 1409, spread: float = 0.01) -> Scores:
    if other is None:
        return Scores(rows=rows, own={"roc_auc": estimate(own)})
    return Scores(
        rows=rows,
        own={"roc_auc": estimate(own), "f1": estimate(own / 2)},
        other={"roc_auc": estimate(other), "f1": estimate(other / 2)},
        difference={"roc_auc": estimate(own - other, spread), "f1": estimate((own - other) / 2, spread)},
    )


def report(number: int, champion: int | None, **told: Any) -> Report:
    given: dict[str, Any] = {
        "model": MODEL,
        "version": number,
        "champion": champion,
        "limits": Limits(compared=("roc_auc",)),
        "scores": scores(0.85, 0.84 if champion else None),
    }
    return Report.model_validate(given | told)


def refused(number: int, *said: str) -> Version:
    checks = tuple(Check(name="roc_auc", outcome="refused", said=one) for one in said)
    return version(number, validation_status="refused", report=report(number, number - 1, checks=checks))


def slices(**losses: float) -> tuple[Slice, ...]:
    return tuple(
        Slice(name=f"contract is {name}", scores=scores(0.8 - loss, 0.8, 200)) for name, loss in losses.items()
    )


def champion(number: int, **told: Any) -> Version:
    """A version that is the champion now."""
    return version(number, stage=Stage.PRODUCTION, aliases=("champion",), was_champion=True, **told)


def release(old: int | None, new: int | None, digest: str = "") -> Change:
    return Change(
        endpoint="churn",
        old=Reference(model=MODEL, version=old) if old else None,
        new=Reference(model=MODEL, version=new, digest=digest) if new else None,
    )


def facts(*found: Version, numbers: tuple[int, ...] = (), **aliases: int) -> Facts:
    """The versions, and a model whose aliases are the given ones and those of the versions."""
    of_versions = {alias: one.number for one in found for alias in one.aliases}
    dangling = tuple(alias for alias, number in aliases.items() if number not in {one.number for one in found})
    model = Model(name=MODEL, aliases=of_versions | aliases, dangling=dangling, numbers=numbers)
    return Facts(models={MODEL: model}, versions={(one.model, one.number): one for one in found})


def compared(old: Version | None, new: Version | None, image: dict[str, str] | None = IMAGE) -> ModelDiff:
    found = facts(*(one for one in (old, new) if one))
    return diff.compare(release(old.number if old else None, new.number if new else None), found, image)


def judged(change: Change, found: Facts, gate: Gate = PROTECTED, image: dict[str, str] | None = IMAGE) -> Preview:
    return preview.preview(change, found, gate, image)
