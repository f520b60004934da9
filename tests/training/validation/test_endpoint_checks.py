"""Checks of an endpoint: the real model server serves the version, and some of its responses are changed."""

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

import pandas as pd
import pytest

from tests.model_server.zoo import ZOO, save_echo, table
from tests.served import Change, Reply, served
from training.ending import FailedError
from training.validation import endpoint_checks
from training.validation.candidate import Candidate
from training.validation.verdict import Check

pytestmark = pytest.mark.long

NAME, VERSION = "risk", 3
SLOW = 10_000.0  # milliseconds; a machine under test may be slow


class Run(Protocol):
    """Function that checks an endpoint of the forest, whose responses it may change."""

    def __call__(self, change: Change = ..., *, latency_ms: float = ...) -> list[Check]: ...


class _WithExample(Candidate):
    @property
    def example(self) -> pd.DataFrame | None:
        return table(2)[0]


@pytest.fixture(scope="module")
def forest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return ZOO["probabilities of a forest"](tmp_path_factory.mktemp("zoo") / "forest")


def unchanged(reply: Reply) -> Reply:
    return reply


@pytest.fixture
def tested(forest: Path) -> Run:
    def run(change: Change = unchanged, *, latency_ms: float = SLOW) -> list[Check]:
        return checked(forest, forest, change, latency_ms=latency_ms)

    return run


def checked(folder: Path, served_folder: Path, change: Change = unchanged, *, latency_ms: float = SLOW) -> list[Check]:
    new, (unseen, _) = _WithExample(VERSION, folder), table(150)
    with served(served_folder, NAME, VERSION, change) as url:
        return endpoint_checks.run_checks(
            url, f"{NAME} version {VERSION}", new, new.load(None), unseen, latency_ms=latency_ms
        )


def refusals(found: list[Check]) -> dict[str, str]:
    return {check.name: check.said for check in found if check.outcome == "refused"}


def test_an_endpoint_that_serves_the_version_passes_and_the_note_names_it(tested: Run) -> None:
    found = {check.name: (check.outcome, check.said) for check in tested()}
    outcome, said = found.pop("endpoint under test")
    assert outcome == "noted"
    assert re.fullmatch(r"http://127.0.0.1:\d+ serves this version and was tested", said)
    assert {name for name, (outcome, _) in found.items() if outcome != "passed"} == set()
    assert found["endpoint predicts held-out rows"][1] == "100 predictions are those of the downloaded files"
    assert found["endpoint predicts the input example"][1] == "2 predictions are those of the downloaded files"
    assert re.match(r"responds 400 \(Model is missing inputs \['a'\]", found["endpoint refuses a missing column"][1])
    assert re.match(r"responds 400 \(.*convert column a to type", found["endpoint refuses a wrong type"][1])


def test_an_endpoint_with_other_files_is_refused_with_the_first_row_that_differs(forest: Path, tmp_path: Path) -> None:
    other = ZOO["probabilities of a regression"](tmp_path / "other")
    said = refusals(checked(forest, other))["endpoint predicts held-out rows"]
    assert re.fullmatch(
        r"the endpoint predicts \[0\.\d+, 0\.\d+\] for row 1 of held-out rows, and the downloaded files predict "
        r"\[0\.\d+, 0\.\d+\] \(\d+ of 100 rows differ\)",
        said,
    )


def _predictions(reply: Reply, change: Callable[[Any], object]) -> Reply:
    if reply.path != "/invocations" or reply.status != 200:
        return reply
    return replace(reply, body=json.dumps({"predictions": change(json.loads(reply.body)["predictions"])}).encode())


def test_a_difference_in_the_last_digits_is_none(tested: Run) -> None:
    def nearly(rows: list[list[float]]) -> object:
        return [[value * (1 + 1e-9) for value in row] for row in rows]

    assert refusals(tested(lambda reply: _predictions(reply, nearly))) == {}


Rows = list[list[float]]
OTHERS: dict[str, Callable[[Rows], object]] = {
    "another number": lambda rows: [[value + 1e-4 for value in row] for row in rows],
    "a row less": lambda rows: rows[:-1],
    "another form": lambda rows: {"rows": rows},
    "text": lambda rows: [[str(value) for value in row] for row in rows],
    "a value more": lambda rows: [[*row, 0] for row in rows],
}


@pytest.mark.parametrize("other", OTHERS)
def test_predictions_that_differ_are_refused(tested: Run, other: str) -> None:
    found = refusals(tested(lambda reply: _predictions(reply, OTHERS[other])))
    assert found.keys() == {"endpoint predicts held-out rows", "endpoint predicts the input example"}


@pytest.mark.parametrize("status", [200, 500])
def test_a_bad_request_that_is_not_answered_with_400_is_refused(tested: Run, status: int) -> None:
    found = refusals(tested(lambda reply: replace(reply, status=status) if reply.status == 400 else reply))
    assert found.keys() == {
        "endpoint refuses a missing column",
        "endpoint refuses a wrong type",
        "endpoint refuses broken JSON",
    }
    assert re.fullmatch(
        rf"the endpoint responds {status} \(.+\) to a request with broken JSON, and must respond 400",
        found["endpoint refuses broken JSON"],
    )


@pytest.mark.parametrize(("body", "refused"), [(b"", 3), (b"no", 2), (b'{"message": "the column a is wrong"}', 0)])
def test_a_refusal_that_does_not_name_the_column_is_refused(tested: Run, body: bytes, refused: int) -> None:
    found = refusals(tested(lambda reply: replace(reply, body=body) if reply.status == 400 else reply))
    assert len(found) == refused
    assert all("its message must name" in said for said in found.values())


@pytest.mark.parametrize("path", ["/health", "/version", "/openapi.json"])
def test_a_page_that_does_not_respond_is_refused(tested: Run, path: str) -> None:
    found = refusals(tested(lambda reply: replace(reply, status=503) if reply.path == path else reply))
    assert found.keys() == {"endpoint pages"}
    assert f"to GET {path}" in found["endpoint pages"]


@pytest.mark.parametrize("body", [b'{"info": {"title": "risk version 2"}, "paths": {"/": {}}}', b"[1]", b"no"])
def test_a_description_of_another_model_is_refused(tested: Run, body: bytes) -> None:
    found = refusals(tested(lambda reply: replace(reply, body=body) if reply.path == "/openapi.json" else reply))
    assert re.search(r"describes (risk version 2|no model), and must describe risk version 3", found["endpoint pages"])


def test_a_slow_endpoint_is_refused_with_its_latency_and_the_limit(tested: Run) -> None:
    (said,) = refusals(tested(latency_ms=0.001)).values()
    assert re.fullmatch(
        r"95 % of the responses of the endpoint to one row take at most [\d.]+ ms, and may take 0\.001 ms", said
    )


def test_a_failing_prediction_is_refused_and_not_timed(tested: Run) -> None:
    def fail(reply: Reply) -> Reply:
        return replace(reply, status=500, body=b"it broke") if reply.status == 200 and "inv" in reply.path else reply

    found = refusals(tested(fail))
    assert found["endpoint latency"] == "the endpoint responds 500 (it broke) to a request with one row"
    assert "responds 500 (it broke) to held-out rows" in found["endpoint predicts held-out rows"]


def test_a_rollout_during_the_test_refuses_nothing_and_is_an_error(tested: Run) -> None:
    with pytest.raises(FailedError, match=r"responded as version 4 while version 3 was tested: a rollout has not"):
        tested(lambda reply: replace(reply, version="4") if reply.path == "/health" else reply)


def test_rows_that_the_version_itself_refuses_are_noted(forest: Path) -> None:
    new, unseen = _WithExample(VERSION, forest), table(3)[0].astype({"b": "Int64"})
    unseen.loc[1, "b"] = pd.NA
    with served(forest, NAME, VERSION) as url:
        found = endpoint_checks.run_checks(url, f"{NAME} version 3", new, new.load(None), unseen, latency_ms=SLOW)
    assert refusals(found) == {}
    noted = {check.name: check.said for check in found if check.outcome == "noted"}
    assert noted["endpoint predicts held-out rows"].startswith(
        "held-out rows: not compared, because version 3 refuses the request: "
    )


@pytest.mark.filterwarnings("ignore:.*An input example was not provided")
def test_a_version_of_texts_and_truth_values_has_no_wrong_type_and_without_an_example_its_rows_are_sent(
    tmp_path: Path,
) -> None:
    echo = save_echo(tmp_path / "echo", kinds={"d": "boolean", "e": "string"})
    new, unseen = Candidate(VERSION, echo), pd.DataFrame({"d": [True, False], "e": ["x", "y"]})
    with served(echo, NAME, VERSION) as url:
        found = endpoint_checks.run_checks(url, f"{NAME} version 3", new, new.load(None), unseen, latency_ms=SLOW)
    outcomes = {check.name: check.outcome for check in found}
    assert refusals(found) == {}
    assert outcomes["endpoint refuses a wrong type"] == "noted"
    assert outcomes["endpoint refuses a missing column"] == "passed"
    assert "endpoint predicts the input example" not in outcomes
