"""A rule accepts exactly the values within the bounds that its message names."""

import re
from collections.abc import Iterator
from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from infra.config import aws_rules, endpoint, rules, training_rules, validation
from infra.config.rules import Rule

MODULES = (rules, training_rules, endpoint, validation, aws_rules)
BOUNDS = re.compile(r"must be a (?:whole )?number (?:of \w+ )?from (\d+) to (\d+)")


def is_taken(kind: Any, value: object) -> bool:
    try:
        return TypeAdapter[object](kind).validate_python(value) is not None
    except ValidationError:
        return False


def bounded() -> Iterator[Any]:
    """Return every number type whose rule names a smallest and a largest value."""
    for module in MODULES:
        for name, kind in vars(module).items():
            for rule in getattr(kind, "__metadata__", ()):
                if isinstance(rule, Rule) and (named := BOUNDS.match(rule.must)):
                    yield pytest.param(kind, int(named[1]), int(named[2]), id=name)


@pytest.mark.parametrize(("kind", "least", "most"), list(bounded()))
def test_a_number_is_taken_from_the_least_to_the_most_that_its_rule_names(kind: Any, least: int, most: int) -> None:
    values = (least - 1, least, most, most + 1)
    assert [value for value in values if is_taken(kind, value)] == [least, most]
    assert kind.__origin__ is float or not [value for value in (str(most), most + 0.0, True) if is_taken(kind, value)]


def test_every_rule_that_names_bounds_is_looked_at() -> None:
    named = {
        name
        for module in MODULES
        for name, kind in vars(module).items()
        for rule in getattr(kind, "__metadata__", ())
        if isinstance(rule, Rule) and re.search(r"number.* from \d+ to \d+", rule.must)
    }
    assert named == {case.id for case in bounded()}


# type, accepted values at the bounds, refused values beyond
EDGES: list[tuple[Any, list[object], list[object]]] = [
    (rules.Version, [1], [0]),
    (rules.EndpointName, ["a", "a" * 63, "a-1"], ["", "a" * 64, "1a", "a-", "-a", "a.b", "A"]),
    (rules.ModelName, ["a", "a" * 63], ["a" * 64]),
    (rules.JobName, ["1", "a" * 41, "validation"], ["a" * 42, "a-validation", "a_b"]),
    (rules.PoolName, ["1", "a" * 40], ["a" * 41]),
    (
        rules.Image,
        ["a/b:1", "localhost:5000/b/c:1", f"a/b@sha256:{'0' * 64}", f"a/b:{'1' * 128}"],
        ["b:1", "a/b", "a/b:latest", "a:5000/b", f"a/b@sha256:{'0' * 63}", f"a/b:{'1' * 129}", "a/B:1"],
    ),
    (rules.Commit, ["a" * 7, "0" * 40, f"{'0' * 40}-dirty"], ["a" * 6, "0" * 41, "g" * 7]),
    (rules.Dataset, ["s3://abc/k", "file:///a"], ["s3://ab/k", "s3://abc/", "s3://abc//k", "file:///", "s3://abc/a b"]),
    (rules.Share, [1, 0.001, "0.5"], [0, 1.001, True]),
    (rules.ColumnName, ["a", "a b"], ["", " a", "a "]),
    (rules.Host, ["a", "a.b:65535", "127.0.0.1:80"], ["a:", "a:123456", "a/b", "a b"]),
    (rules.Context, ["a"], ["", "a b"]),
    (rules.LabelKey, ["a", "a.b/c", "a" * 63], ["", "a/", "a" * 64, "a/b/c", "-a"]),
    (rules.LabelValue, ["", "a", "a" * 63], ["a" * 64, "a-", "a/b"]),
    (rules.Cpu, [0.5, "1m", 9999], [0, "0.0001", -1]),
    (training_rules.ProjectName, ["a", "a" * 63], ["a" * 64, "1", "_a", "A"]),
    (training_rules.ParameterName, ["C", "a" * 63], ["a" * 64, "1a", "a-b"]),
    (training_rules.SchemaFile, ["a.json", "a/b.json"], ["/a.json", "a.yaml", ".json.x"]),
    (training_rules.ObjectName, ["a", "a.b", "a" * 253], ["a" * 254, "a..b", "A"]),
    (training_rules.SecretKey, ["a", ".a_b-C", "a" * 253], ["", "a" * 254, "a/b"]),
    (training_rules.Metric, ["a", "a/b.c", "a" * 100], ["a" * 101, "1a", "a b"]),
    (training_rules.TimeZone, ["Etc/UTC", "Europe/Berlin"], ["Local", "", "Mars/Olympus"]),
    (training_rules.Scalar, ["", 1, 0.5, True], [None, [1], {}]),
    (aws_rules.AccountId, ["0" * 12], ["0" * 11, "0" * 13]),
    (aws_rules.AwsPoolName, ["a" * 25], ["a" * 26, "system"]),
    (aws_rules.ClusterName, ["a" * 100, "a_b-C"], ["a" * 101, "-a", ""]),
    (aws_rules.VpcCidr, ["10.0.0.0/16", "10.0.0.0/23"], ["10.0.0.0/15", "10.0.0.0/24", "11.0.0.0/16"]),
    (aws_rules.ServiceCidr, ["172.16.0.0/12", "10.0.0.0/24"], ["10.0.0.0/11", "10.0.0.0/25", "11.0.0.0/16"]),
    (aws_rules.NamedCidr, ["8.0.0.0/8", "2001:db8::/32"], ["8.0.0.0/7", "8.0.0.1/8"]),
    (aws_rules.PrivateApiCidr, ["10.0.0.0/8"], ["10.0.0.0/7", "fd00::/8"]),
    (aws_rules.PublicApiCidr, ["8.0.0.0/8", "100.128.0.0/16"], ["8.0.0.0/7", "100.127.0.0/16", "127.0.0.0/8"]),
    (aws_rules.Zones, [2, 3], [1, 4, "3"]),
    (aws_rules.ZoneName, ["eu-west-1a", "us-gov-west-1b"], ["eu-west-1", "eu-1a"]),
    (aws_rules.LogDays, [1, 30, 3653], [0, 2, 3654]),
    (aws_rules.Disrupted, ["1", "999", "99%", "100%"], ["1000", "101%", "", "%"]),
    (
        aws_rules.BucketName,
        ["abc", "a" * 63],
        ["ab", "a" * 64, "-abc", "abc-", "xn--a", "sthree-a", "amzn-s3-demo-a", "a-s3alias", "a--ol-s3", "a--x-s3"],
    ),
    (aws_rules.InstanceType, ["m7i.large", "m7i.xlarge", "m7i.48xlarge", "m7i.metal"], ["m7i", "m7i.small", "m7i."]),
    (
        aws_rules.InstanceClass,
        ["db.t4g.micro", "db.m7g.large", "db.r8g.24xlarge"],
        ["db.m7g.medium", "db.m9g.large", "m7g.large"],
    ),
    (
        aws_rules.SnapshotId,
        ["a", "rds:a", "a" * 255, "arn:aws:rds:eu-west-1:000000000000:snapshot:a"],
        ["1a", "a" * 256, "a b", "arn:aws:rds:eu-west-1:0:snapshot:a"],
    ),
    (aws_rules.HostName, ["a.bc", f"{'a' * 63}.bc"], ["a", "a.b", f"{'a' * 64}.bc", "A.bc", "a.bc:80"]),
]


@pytest.mark.parametrize(("kind", "taken", "refused"), EDGES)
def test_a_text_or_amount_is_taken_up_to_the_edge_of_its_rule(
    kind: Any, taken: list[object], refused: list[object]
) -> None:
    assert [value for value in (*taken, *refused) if is_taken(kind, value)] == taken
