"""Fixtures: a GitHub on this machine, and connections to it that do not wait."""

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pull_requests import github as client
from tests.pull_requests.github_double import GitHub, environment, serve

Connect = Callable[..., client.GitHub]


@pytest.fixture
def github(tmp_path: Path) -> Iterator[GitHub]:
    with serve(tmp_path) as made:
        yield made


@pytest.fixture
def waited() -> list[float]:
    """Seconds of each wait that GitHub asked for."""
    return []


@pytest.fixture
def connect(github: GitHub, waited: list[float]) -> Iterator[Connect]:
    """Return a function that connects with a token, as the app by default; each token has one connection."""
    made: dict[str, client.GitHub] = {}
    lock = threading.Lock()

    def connected(token: str = "ghs_app") -> client.GitHub:
        with lock:
            if token not in made:
                repository = client.Repository.from_environment(environment(github, token))
                made[token] = client.GitHub(repository, tell=lambda _: None, wait=waited.append)
            return made[token]

    yield connected
    for one in made.values():
        one.__exit__()
