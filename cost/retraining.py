"""Budget of the retraining of an endpoint's model, as the stack file declares it."""

import json
import math
import re
from collections.abc import Iterator, Sequence
from datetime import timedelta

from contract.untyped import mapping
from cost.estimate import Estimate
from cost.money import usd
from cost.prices import HOURS, Model


class Retraining(Model):
    """Retraining of one endpoint's model, with a budget."""

    endpoint: str
    training: str
    """Name of the training job; its validation runs after each training."""
    pause_hours: float
    """Shortest time in hours between the starts of two retrainings."""
    budget_usd: float
    """Limit in US dollars for a month."""

    @property
    def runs(self) -> int:
        """Largest number of retrainings in a month."""
        return math.ceil(HOURS / self.pause_hours)


def declared(document: object) -> list[Retraining]:
    """Return the retrainings that have a budget in the stack file that a preview was made with."""
    match document:
        case {"config": {"mlops:endpoints": str(text)}}:
            endpoints = mapping(json.loads(text))
        case _:
            return []
    found: list[Retraining] = []
    for name, endpoint in endpoints.items():
        retrain = mapping(mapping(endpoint).get("retrain"))
        pause = re.fullmatch(r"(\d+)(h|d)", str(retrain.get("at_most_every", "7d")))
        match retrain:
            case {"training": str(training), "budget_usd_per_month": int() | float() as limit} if pause:
                hours = timedelta(**{"hours" if pause[2] == "h" else "days": int(pause[1])}) / timedelta(hours=1)
                found.append(Retraining(endpoint=name, training=training, pause_hours=hours, budget_usd=limit))
            case _:  # without a budget, or invalid, which the preview says
                pass
    return found


def problems(estimate: Estimate, every: Sequence[Retraining]) -> Iterator[str]:
    """Yield the error text of each budget that is exceeded or cannot be checked."""
    for one in every:
        priced = {run.name: run.usd for run in estimate.runs}
        where = f"budget_usd_per_month of mlops:endpoints.{one.endpoint}.retrain is {usd(one.budget_usd)}"
        if one.training not in priced:
            yield f"{where}, but no run of {one.training} has a price; remove the key, or give the region a price table"
            continue
        run = priced[one.training] + priced.get(f"{one.training}-validation", 0)
        if (month := one.runs * run) > one.budget_usd:
            yield (
                f"{where}, but retraining may cost {usd(month)} in a month: {one.runs} runs of {one.training} with "
                f"their validations until their deadlines, {usd(run)} each; write a longer at_most_every, shorten "
                "deadline_minutes, or raise the budget"
            )
