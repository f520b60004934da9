"""Checks that an endpoint which serves the version under validation does what clients rely on."""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import zip_longest
from typing import Any, cast

import numpy as np
import pandas as pd
from mlflow.types.schema import ColSpec, Schema
from mlflow.utils.proto_json_utils import NumpyEncoder

from training.ending import FailedError
from training.validation import endpoint
from training.validation.candidate import TIMED, WARM_UP, Candidate, Loaded, UnusableError
from training.validation.endpoint import Response
from training.validation.verdict import Check

ROWS = 100
"""Largest number of held-out rows whose predictions are compared."""
RELATIVE, ABSOLUTE = 1e-6, 1e-9
"""Tolerances for the difference of two predicted numbers."""
UNCHECKED = {"boolean", "string"}
"""Types of columns for which MLflow accepts a value of any type."""
WRONG = "no value of this type"


@dataclass(frozen=True)
class _Endpoint:
    """Endpoint under test, with the versions that its responses named so far."""

    url: str
    versions: set[str] = field(default_factory=set[str])

    def get(self, path: str) -> Response:
        return self._noted(endpoint.send(self.url + path))

    def predict(self, body: str) -> Response:
        return self._noted(endpoint.send(f"{self.url}/invocations", body))

    def _noted(self, response: Response) -> Response:
        if response.status:
            self.versions.add(response.version)
        return response


def run_checks(
    url: str, title: str, new: Candidate, loaded: Loaded, unseen: pd.DataFrame, *, latency_ms: float
) -> list[Check]:
    """Send requests to the endpoint and return its checks.

    Args:
        url: URL of the endpoint, without a path.
        title: model and version, for example `churn-predictor version 8`.
        new: version that the endpoint serves.
        loaded: model of the version in memory.
        unseen: rows that the version was not trained with; only the columns that it takes.
        latency_ms: largest 95th percentile of the latency for one row, in milliseconds.

    Raises:
        FailedError: another version responded during the test.
    """
    tested, example = _Endpoint(url), new.example
    row = _records((unseen if example is None else example).head(1))[0]
    found = [
        *([_same_predictions(tested, new, loaded, "the input example", example)] if example is not None else []),
        _same_predictions(tested, new, loaded, "held-out rows", unseen.head(ROWS)),
        *_bad_requests(tested, new, row),
        _pages(tested, title),
        _latency(tested, _body([row]), latency_ms),
    ]
    return [*_version(tested, new.number), *found]


def _version(tested: _Endpoint, number: int) -> Iterator[Check]:
    if others := sorted(tested.versions - {str(number)}):
        # This says nothing about the version, so the version is not refused.
        raise FailedError(
            f"the endpoint {tested.url} responded as version {' and '.join(one or 'unknown' for one in others)} while "
            f"version {number} was tested: a rollout has not ended; wait for its end, then validate again"
        )
    # A preview of the model shows what is noted.
    yield Check(name="endpoint under test", outcome="noted", said=f"{tested.url} serves this version and was tested")
    yield Check(name="endpoint version", outcome="passed", said=f"each response is from version {number}")


def _same_predictions(tested: _Endpoint, new: Candidate, loaded: Loaded, what: str, rows: pd.DataFrame) -> Check:
    """Check that the endpoint predicts the same as MLflow's own server would with the downloaded files."""
    name, body = f"endpoint predicts {what}", _body(_records(rows))
    try:
        expected = _predictions(new.response(loaded, body))
    except UnusableError as error:
        return Check(name=name, outcome="noted", said=f"{what}: not compared, because {error}")
    response = tested.predict(body)
    if response.status != 200:
        return Check.of(name, [f"the endpoint {response.said} to {what}, which the downloaded files can predict"], "")
    pairs = list(zip_longest(expected, _predictions(response.body)))
    different = [row for row, (wanted, got) in enumerate(pairs) if not _are_equal(wanted, got)]
    faults = [
        f"the endpoint predicts {pairs[row][1]!r} for row {row + 1} of {what}, and the downloaded files predict "
        f"{pairs[row][0]!r} ({len(different)} of {len(pairs)} rows differ)"
        for row in different[:1]
    ]
    return Check.of(name, faults, f"{len(pairs)} predictions are those of the downloaded files")


def _bad_requests(tested: _Endpoint, new: Candidate, row: Mapping[str, Any]) -> Iterator[Check]:
    """Check that the endpoint responds to bad requests with 400 and a message that names the fault."""
    inputs = cast("Schema | None", new.signature.inputs if new.signature else None)
    columns = [one for one in (inputs.inputs if inputs else []) if isinstance(one, ColSpec) and one.name]
    required = [str(one.name) for one in columns if one.required]
    typed = [str(one.name) for one in columns if str(one.type).removeprefix("DataType.") not in UNCHECKED]
    fault = "a missing column"
    if required:
        rest = {name: value for name, value in row.items() if name != required[0]}
        yield _refused(tested, fault, _body([rest]), required[0])
    else:
        yield Check(name=f"endpoint refuses {fault}", outcome="noted", said="the version requires no column")
    fault = "a wrong type"
    if typed:
        yield _refused(tested, fault, _body([{**row, typed[0]: WRONG}]), typed[0])
    else:
        yield Check(name=f"endpoint refuses {fault}", outcome="noted", said="MLflow accepts any type for its columns")
    yield _refused(tested, "broken JSON", _body([row])[:-1], "")


def _refused(tested: _Endpoint, fault: str, body: str, named: str) -> Check:
    response = tested.predict(body)
    said = f"the endpoint {response.said} to a request with {fault}"
    faults = [f"{said}, and must respond 400"] if response.status != 400 else []
    if not faults and not (response.message.strip() and named in response.message):
        faults = [f"{said}, and its message must name {f'the column {named}' if named else 'the fault'}"]
    return Check.of(f"endpoint refuses {fault}", faults, response.said)


def _pages(tested: _Endpoint, title: str) -> Check:
    """Check the pages that probes and clients read."""
    pages = {path: tested.get(path) for path in ("/ping", "/health", "/version", "/openapi.json")}
    faults = [f"the endpoint {page.said} to GET {path}" for path, page in pages.items() if page.status != 200]
    document = pages["/openapi.json"]
    described = cast("Mapping[str, Any]", document.json.get("info") or {}).get("title")
    if document.status == 200 and not (document.json.get("paths") and described == title):
        faults.append(f"/openapi.json of the endpoint describes {described or 'no model'}, and must describe {title}")
    return Check.of("endpoint pages", faults, f"{', '.join(pages)} respond")


def _latency(tested: _Endpoint, body: str, most: float) -> Check:
    seconds: list[float] = []
    for _ in range(WARM_UP + TIMED):
        response = tested.predict(body)
        if response.status != 200:
            return Check.of("endpoint latency", [f"the endpoint {response.said} to a request with one row"], "")
        seconds.append(response.seconds)
    value = 1000 * float(np.quantile(seconds[WARM_UP:], 0.95))
    said = f"95 % of the responses of the endpoint to one row take at most {value:.1f} ms"
    return Check.of("endpoint latency", [f"{said}, and may take {most:g} ms"] if value > most else [], said)


def _records(rows: pd.DataFrame) -> list[dict[str, Any]]:
    """Return the rows as JSON values; a missing value is None."""
    values = rows.astype(object)
    records = values.where(values.notna(), None).to_dict(orient="records")
    return [{str(name): value for name, value in record.items()} for record in records]


def _body(records: Sequence[Mapping[str, Any]]) -> str:
    return json.dumps({"dataframe_records": records}, cls=NumpyEncoder)


def _predictions(body: str) -> list[Any]:
    """Return the predictions of a response, one for each row; a single value if they are not a list."""
    predictions: object = endpoint.Response(status=200, body=body).json.get("predictions")
    return cast("list[Any]", predictions) if isinstance(predictions, list) else [predictions]


def _are_equal(one: object, other: object) -> bool:
    """Return whether two JSON values are equal, with a tolerance for numbers."""
    match one, other:
        case (bool(), _) | (_, bool()):
            return one is other
        case (int() | float(), int() | float()):
            both_nan = math.isnan(one) and math.isnan(other)
            return both_nan or math.isclose(one, other, rel_tol=RELATIVE, abs_tol=ABSOLUTE)
        case (list(), list()):
            ones, others = cast("list[object]", one), cast("list[object]", other)
            return len(ones) == len(others) and all(map(_are_equal, ones, others))
        case (dict(), dict()):
            first, second = cast("dict[str, object]", one), cast("dict[str, object]", other)
            return first.keys() == second.keys() and all(_are_equal(first[key], second[key]) for key in first)
        case _:
            return one == other
