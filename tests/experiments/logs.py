"""Writes prediction logs as the server's container `ship` does."""

import json
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from model_server.predict.types import Kind
from model_server.prediction_log.segments import Content, Field, Header, Record
from model_server.prediction_log.tables import as_parquet

MODEL = "churn-predictor"
START = datetime(2026, 12, 1, tzinfo=UTC)
EXPERIMENT = "trees-2026-12"
INPUTS = [Field("contract", "string"), Field("charges", "double")]


@dataclass(frozen=True, kw_only=True)
class Row:
    """One request of one row."""

    request_id: str
    prediction: object
    unit: str | None = None
    role: str | None = "champion"
    version: int = 7
    at: datetime = START
    latency_ms: float = 5.0
    contract: str = "monthly"
    charges: float = 1.0
    experiment: str | None = EXPERIMENT


def write(folder: Path, rows: Sequence[Row], pod: str = "churn-predictor-5d9f7-x7k2p") -> Path:
    """Write one file for each role, version and hour below `predictions`. Return the folder."""
    files: dict[tuple[str | None, int, datetime], list[Row]] = {}
    for row in rows:
        files.setdefault((row.role, row.version, row.at.replace(minute=0, second=0, microsecond=0)), []).append(row)
    for number, ((role, version, hour), part) in enumerate(files.items()):
        header = Header(inputs=INPUTS, outputs=[Field("", _kind(part))], role=role)
        body = as_parquet(Content(header=header, records=[_record(row) for row in part], torn=0), {})
        place = folder / f"predictions/model={MODEL}/version={version}/date={hour:%Y-%m-%d}/hour={hour:%H}"
        place.mkdir(parents=True, exist_ok=True)
        (place / f"{pod}-{hour:%Y%m%dT%H}-0f-{number:05}.parquet").write_bytes(body)
    return folder


def _kind(rows: Sequence[Row]) -> Kind:
    return "double" if isinstance(rows[0].prediction, float) else "string"


def _record(row: Row) -> Record:
    return Record(
        request_id=row.request_id,
        at=int(row.at.timestamp() * 1_000_000),
        latency_ms=row.latency_ms,
        rows=[[row.contract, row.charges]],
        body=None,
        response=json.dumps({"predictions": [row.prediction]}),
        experiment=row.experiment,
        unit=row.unit,
    )


def experiment(
    units: int,
    *,
    share: float = 0.5,
    right: Callable[[str], float] = lambda _: 0.8,
    visits: int = 2,
    days: float = 0.5,
    seed: int = 1,
) -> tuple[list[Row], str]:
    """Return the log of an experiment, and its outcomes as CSV.

    Args:
        units: number of units.
        share: probability of the challenger's arm.
        right: probability of a right prediction, by role.
        visits: requests of each unit.
        days: length of the experiment.
        seed: seed of all random choices.
    """
    dice = random.Random(seed)
    rows: list[Row] = []
    outcomes = ["request_id,row,label,at"]
    for unit in range(units):
        role = "challenger" if dice.random() < share else "champion"
        first = Row(
            request_id="",
            prediction="",
            unit=f"{unit:032x}",
            role=role,
            version=8 if role == "challenger" else 7,
            contract=dice.choice(["monthly", "yearly"]),
            charges=float(unit),
            latency_ms=dice.uniform(4, 6),
        )
        for visit in range(visits):
            name, label = f"{unit}-{visit}", dice.choice(["Yes", "No"])
            wrong = "No" if label == "Yes" else "Yes"
            said = label if dice.random() < right(role) else wrong
            at = START + timedelta(days=dice.uniform(0, days))
            rows.append(replace(first, request_id=name, prediction=said, at=at))
            outcomes.append(f"{name},0,{label},{(at + timedelta(days=1)).isoformat()}")
    return rows, "\n".join(outcomes) + "\n"
