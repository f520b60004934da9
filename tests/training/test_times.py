from pathlib import Path
from typing import Any, Protocol, cast

import numpy as np
import pandas as pd
import pytest
import skops.io
from numpy.typing import NDArray

from training.mlflow_logging import TRUSTED
from training.times import DAY, WEEK, cycle, trend


class _Skops(Protocol):
    def dump(self, step: object, file: Path) -> None: ...
    def get_untrusted_types(self, *, file: Path) -> list[str]: ...


SKOPS = cast("_Skops", skops.io)
DAYS = pd.DataFrame({"day": pd.date_range("2026-01-01", periods=15, unit="ns")})
MISSING = pd.DataFrame({"day": np.array(["NaT"], dtype="datetime64[ns]")})


def made(step: Any) -> NDArray[np.float64]:
    return step.fit_transform(DAYS)


def test_a_cycle_has_the_same_values_a_period_later_and_others_within_it() -> None:
    waves = made(cycle(WEEK))
    assert waves[0] == pytest.approx(waves[7], abs=1e-6)
    assert waves[0] == pytest.approx(waves[14], abs=1e-6)
    assert len(np.unique(np.round(waves[:7], 6), axis=0)) == 7
    assert (waves**2).sum(axis=1) == pytest.approx(np.ones(15))
    assert np.abs(made(cycle(DAY)) - [0, 1]).max() < 1e-6


def test_a_trend_grows_evenly() -> None:
    scaled = made(trend())
    assert scaled[1:, 0] - scaled[:-1, 0] == pytest.approx(np.full(14, 0.2314550))


@pytest.mark.parametrize("step", [cycle(WEEK), trend()])
def test_a_missing_time_of_a_request_is_missing_for_the_model(step: Any) -> None:
    assert np.isnan(step.fit(DAYS).transform(MISSING)).all()


@pytest.mark.parametrize("step", [cycle(WEEK), trend()])
def test_a_step_loads_with_the_types_that_the_platform_trusts(step: Any, tmp_path: Path) -> None:
    SKOPS.dump(step.fit(DAYS), tmp_path / "step.skops")
    assert set(SKOPS.get_untrusted_types(file=tmp_path / "step.skops")) <= set(TRUSTED)
