"""Settings of the test process: event loop, logging, nightly tests."""

import asyncio
import logging

import pytest

# The Pulumi SDK needs the event loop of its thread whenever it creates an Output, and `asyncio.run` in another test
# leaves the thread without a loop.
LOOP = asyncio.new_event_loop()
# A command under test may go on logging after pytest has closed the test's output.
logging.raiseExceptions = False


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup() -> None:
    asyncio.set_event_loop(LOOP)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--all", action="store_true", help="also run the tests marked `nightly`, which take too long for CI"
    )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--all"):
        return
    nightly = [item for item in items if item.get_closest_marker("nightly")]
    config.hook.pytest_deselected(items=nightly)
    items[:] = [item for item in items if item not in nightly]
