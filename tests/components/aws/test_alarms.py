"""Limits of the alarms about the database."""

import pytest

from components.aws.alarms import max_connections


@pytest.mark.parametrize(
    ("instance_class", "connections"),
    [
        ("db.t4g.micro", 112),
        ("db.t4g.small", 225),
        ("db.m7g.large", 901),
        ("db.r6g.large", 1802),
        ("db.m7g.4xlarge", 5000),
        ("db.t3.2xlarge", 3604),
    ],
)
def test_the_limit_of_connections_is_that_of_the_memory_of_the_class(instance_class: str, connections: int) -> None:
    assert max_connections(instance_class) == connections
