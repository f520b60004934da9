"""What all tests share of the process that they run in."""

import asyncio
import logging

import pytest

# For whatever declares resources: the Pulumi SDK takes the loop of its thread whenever an Output is made, and never
# closes one; `asyncio.run` in another test leaves the thread without any.
LOOP = asyncio.new_event_loop()
# A command under test logs to the output that pytest gave to that test, and may go on when it is closed.
logging.raiseExceptions = False


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup() -> None:
    asyncio.set_event_loop(LOOP)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--all", action="store_true", help="run the tests marked `nightly` too, which CI has no time for")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--all"):
        return
    nightly = [item for item in items if item.get_closest_marker("nightly")]
    config.hook.pytest_deselected(items=nightly)
    items[:] = [item for item in items if item not in nightly]
