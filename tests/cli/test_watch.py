"""`mlops top` where there is no Prometheus."""

import pytest

from contract.exit_codes import ExitCode
from tests.command import Command
from tests.monitoring.prometheus import free_port


@pytest.mark.parametrize("address", ["localhost:9090", "ftp://prometheus", "http://"])
def test_an_address_that_is_no_url_is_refused(mlops: Command, address: str) -> None:
    code, errors = mlops("top", "--prometheus", address)
    assert code == ExitCode.BAD_INPUT
    assert f"--prometheus {address!r} is not a URL; write one such as http://localhost:9090" in errors


def test_an_address_that_does_not_answer_is_named_with_the_remedy(mlops: Command) -> None:
    address = f"http://127.0.0.1:{free_port()}"
    code, errors = mlops("top", "--once", "--prometheus", address)
    assert code == ExitCode.FAILED
    assert errors.startswith(f"mlops: {address} did not answer a query as Prometheus does: ")
    assert errors.rstrip().endswith("write another with --prometheus URL")
