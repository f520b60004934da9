"""One event loop for whatever declares resources.

The Pulumi SDK takes the loop of its thread whenever an Output is made, and never closes one; `asyncio.run` in another
test leaves the thread without any.
"""

import asyncio

import pytest

LOOP = asyncio.new_event_loop()


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup() -> None:
    asyncio.set_event_loop(LOOP)
