import pytest
from mlflow.models import ModelSignature
from mlflow.types.schema import ColSpec, Schema

from training.validation.signatures import breaking_changes

LABEL = [ColSpec("string")]


def signature(*columns: ColSpec, outputs: list[ColSpec] = LABEL) -> ModelSignature:
    return ModelSignature(inputs=Schema([*columns]), outputs=Schema([*outputs]))


def column(name: str, kind: str = "long", *, required: bool = True) -> ColSpec:
    return ColSpec(kind, name, required=required)


TENURE, TOTAL = column("tenure"), column("total", "double", required=False)
BEFORE = signature(TENURE, TOTAL)


@pytest.mark.parametrize(
    ("after", "said"),
    [
        (signature(column("months"), TOTAL), ["months is new and required", "tenure is removed"]),
        (signature(TENURE, TOTAL, column("city", "string")), ["city is new and required"]),
        (signature(column("tenure")), ["total is removed"]),
        (signature(column("tenure", "string"), TOTAL), ["tenure was long and is "]),
        (signature(column("tenure", "integer"), TOTAL), ["tenure was long and is "]),
        (signature(column("tenure"), column("total", "double")), ["total became required"]),
        (signature(TENURE, TOTAL, outputs=[ColSpec("double")]), ["the output is #0: double, not #0: "]),
    ],
)
def test_what_a_client_would_notice_is_breaking(after: ModelSignature, said: list[str]) -> None:
    changes = breaking_changes(BEFORE, after)
    assert len(changes) == len(said)
    assert all(phrase in change for phrase, change in zip(said, changes, strict=True))


@pytest.mark.parametrize(
    "after",
    [
        BEFORE,
        signature(TOTAL, TENURE),
        signature(TENURE, TOTAL, column("city", "string", required=False)),
        signature(column("tenure", required=False), TOTAL),
        signature(column("tenure", "double"), TOTAL),
    ],
    ids=["the same", "another order", "an optional column more", "no longer required", "a wider number"],
)
def test_what_no_client_notices_is_not_breaking(after: ModelSignature) -> None:
    assert breaking_changes(BEFORE, after) == []
