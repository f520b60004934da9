import os
from pathlib import Path

import pytest

from model_server.failure import ServingError
from model_server.settings import THREAD_POOLS, FetchSettings, ServerSettings


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in FetchSettings.model_fields | ServerSettings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.setenv("MODEL", "churn-predictor")
    monkeypatch.setenv("MODEL_VERSION", "3")


def test_the_folder_of_a_version_names_model_and_number() -> None:
    assert ServerSettings.load().version_dir == Path("/model/churn-predictor/3")


@pytest.mark.parametrize("value", ["latest", "champion", "0", "-1", "1.5"])
def test_only_a_whole_number_from_one_on_is_a_version(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("MODEL_VERSION", value)
    with pytest.raises(ServingError) as told:
        ServerSettings.load()
    assert str(told.value).startswith(f"MODEL_VERSION={value!r} is wrong (")
    assert "no alias and no 'latest'; for example MODEL_VERSION=3" in str(told.value)
    assert told.value.final


def test_all_problems_are_reported_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MODEL")
    monkeypatch.setenv("PORT", "http")
    with pytest.raises(ServingError) as told:
        ServerSettings.load()
    assert "MODEL is not set" in str(told.value)
    assert "PORT='http'" in str(told.value)
    assert "\n" not in str(told.value)


def test_the_fetcher_needs_the_place_of_the_files(monkeypatch: pytest.MonkeyPatch) -> None:
    for value in ("", None):
        monkeypatch.setenv("MODEL_SOURCE", value) if value is not None else monkeypatch.delenv("MODEL_SOURCE")
        with pytest.raises(ServingError, match="MODEL_SOURCE"):
            FetchSettings.load()
    monkeypatch.setenv("MODEL_SOURCE", "s3://bucket/models/1")
    assert FetchSettings.load().store_patience_seconds == 20


def test_a_digest_that_is_none_is_refused_by_the_fetcher(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODEL_SOURCE", "s3://bucket/models/1")
    monkeypatch.setenv("MODEL_DIGEST", "sha256:12")
    with pytest.raises(ServingError, match="MODEL_DIGEST='sha256:12' is wrong"):
        FetchSettings.load()


def test_thread_pools_are_set_unless_the_environment_has_them(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*THREAD_POOLS, "_MLFLOW_IS_IN_SERVING_ENVIRONMENT", "MLFLOW_LOGGING_LEVEL"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    monkeypatch.setenv("PROMETHEUS_DISABLE_CREATED_SERIES", "")
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    monkeypatch.setenv("THREADS", "3")
    ServerSettings.load().prepare_process()
    assert os.environ["OMP_NUM_THREADS"] == "7"
    assert os.environ["OPENBLAS_NUM_THREADS"] == "3"
