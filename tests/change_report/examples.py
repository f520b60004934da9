"""Documents as the engine prints them, and reports about them."""

from collections.abc import Mapping
from typing import Any

from change_report.report import Base, Cost, EngineResult, Report, make
from model_preview.facts import Change, Reference, Unverified
from model_preview.preview import Preview, preview
from model_preview.verdict import Gate
from tests.model_preview.examples import PROTECTED, champion, facts, judged, version

Object = dict[str, Any]
SECRET = "[secret]"
LATER = "04da6b54-80e4-46f7-96ec-b56ff0331ba9"
DEPLOYMENT = "mlops:index:ModelEndpoint$kubernetes:apps/v1:Deployment"


def step(
    op: str,
    kinds: str,
    name: str,
    old: Mapping[str, Any] | None = None,
    new: Mapping[str, Any] | None = None,
    **more: Any,
) -> Object:
    """One step on a resource; `kinds` are the types in its URN, and `more` are further keys of the step."""
    urn = f"urn:pulumi:prod::mlops::{kinds}::{name}"
    kind = kinds.rpartition("$")[2]
    sides = {"oldState": old, "newState": new}
    states = {
        side: {"urn": urn, "custom": not kind.startswith("mlops:"), "type": kind, "inputs": inputs}
        for side, inputs in sides.items()
        if inputs is not None
    }
    return {"op": op, "urn": urn, **states, **more}


def document(*steps: Object, **more: Any) -> Object:
    return {"steps": list(steps), **more}


def diagnostic(severity: str, text: str) -> Object:
    return {"severity": severity, "message": f"{severity}: {text}\n"}


def violation(level: str, policy: str, sentence: str, urn: str = "") -> Object:
    """Event of the engine about a violated policy."""
    event = {"resourceUrn": urn, "message": f"What the rule says.\n{sentence}\n", "policyName": policy}
    return {"policyEvent": {**event, "policyPackName": "mlops", "enforcementLevel": level}}


def serves(name: str, number: int | None) -> Object | None:
    """Inputs of the Deployment that serves a version."""
    labels = {"app.kubernetes.io/version": str(number)}
    return {"metadata": {"name": name, "namespace": "ml-serving", "labels": labels}} if number else None


def release(endpoint: str, old: int | None, new: int | None, model: str = "churn-predictor") -> Change:
    sides = [Reference(model=model, version=number) if number else None for number in (old, new)]
    return Change(endpoint=endpoint, old=sides[0], new=sides[1])


def good(endpoint: str = "churn-predictor", gate: Gate = PROTECTED, **told: Any) -> Preview:
    """Version 8 in place of 7."""
    return judged(release(endpoint, 7, 8), facts(champion(7), version(8, **told)), gate)


def unvalidated(endpoint: str = "churn-predictor", gate: Gate = PROTECTED, **told: Any) -> Preview:
    return good(endpoint, gate, validation_status="", **told)


def silent(endpoint: str = "churn-predictor", gate: Gate = PROTECTED) -> Preview:
    """MLflow did not respond."""
    return preview(release(endpoint, 7, 8), Unverified(why="MLflow sleeps"), gate)


def result(
    *steps: Object, failed: bool = False, said: str = "", events: tuple[Object, ...] = (), **more: Any
) -> EngineResult:
    return EngineResult(document=document(*steps, **more), failed=failed, said=said, events=events)


def report(
    *previews: Preview, result: EngineResult | None = None, cost: Cost | None = None, base: Base | None = None
) -> Report:
    return make("prod", previews, result=result, cost=cost, base=base)
