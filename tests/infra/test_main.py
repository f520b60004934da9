"""Entry point of the program, as the engine starts it."""

import runpy

import pulumi
import pytest

from tests.recording import record
from tests.stacks import SECRETS, changed


def test_a_wrong_file_ends_the_program_with_what_is_wrong_and_no_second_error(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    monkeypatch.setattr(pulumi.log, "error", said.append)
    config = changed({"endpoints.churn-predictor.version": "latest"})
    with pytest.raises(SystemExit) as ended:
        record(lambda: runpy.run_module("infra", run_name="__main__"), config=config, secrets=SECRETS)
    assert ended.value.code == 32, "Pulumi calls any other an unhandled error"
    (message,) = said
    assert message.startswith("1 problem in Pulumi.test.yaml; nothing was touched")
