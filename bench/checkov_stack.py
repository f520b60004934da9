"""Write the prod stack as files that checkov reads: Terraform for AWS, manifests for Kubernetes.

    python -m bench.checkov_stack FOLDER && checkov --directory FOLDER --compact --quiet

The resources come from the program under a mock engine, as in tests. checkov is not in the lock: it pins many packages,
so install it in a virtual environment of its own.
"""

import json
import re
import sys
from pathlib import Path
from typing import cast

import yaml

from tests.infra.foundations.test_aws import declared
from tests.recording import Resource

SAME = {
    "rds/instance": "db_instance",
    "rds/parameterGroup": "db_parameter_group",
    "rds/snapshot": "db_snapshot",
    "rds/subnetGroup": "db_subnet_group",
}
"""Types whose name in Terraform is another one; the module `ec2` has no name there."""
BLOCKS = {"rules": "rule", "encryption_configurations": "encryption_configuration"}
"""Blocks to which Pulumi gives the plural."""
OWNERS = {
    "bucket": "aws_s3_bucket",
    "security_group_ids": "aws_security_group",
    "vpc_id": "aws_vpc",
    "vpc_security_group_ids": "aws_security_group",
}
"""Properties by which checkov connects resources, and the type that they refer to."""


def terraform(resource: Resource) -> tuple[str, dict[str, object]]:
    """Return the type and the arguments of a resource in Terraform."""
    token = resource.type.split(":")[1]
    module, _, kind = token.partition("/")
    words = SAME.get(token) or _snake(kind if module == "ec2" else f"{module}_{kind}")
    arguments = cast("dict[str, object]", _plain(resource.inputs, ""))
    if words == "s3_bucket":
        arguments["bucket"] = resource.name
    return f"aws_{words}", arguments


def _plain(value: object, key: str) -> object:
    """Return a value with Terraform's names of keys, and with references in place of the mock engine's ids."""
    match value:
        case dict():
            tree = cast("dict[str, object]", value)
            words = {each: BLOCKS.get(_snake(each), _snake(each)) for each in tree}
            return {words[each]: _plain(item, words[each]) for each, item in tree.items()}
        case list():
            return [_plain(item, key) for item in cast("list[object]", value)]
        case str() if key in OWNERS:
            return f"${{{OWNERS[key]}.{value.removesuffix('-id')}.id}}"
        case _:
            return value


def _snake(name: str) -> str:
    return re.sub(r"(?<=[a-z0-9])[A-Z]", lambda found: f"_{found[0].lower()}", name)


def main(folder: Path) -> None:
    """Write the two files."""
    folder.mkdir(parents=True, exist_ok=True)
    made: dict[str, dict[str, object]] = {}
    manifests: list[dict[str, object]] = []
    for resource in declared().resources:
        if resource.type.startswith("aws:"):
            kind, arguments = terraform(resource)
            made.setdefault(kind, {})[resource.name] = arguments
        elif resource.type.startswith("kubernetes:"):
            named = {"name": resource.name, **resource.inputs.get("metadata", {})}
            manifests.append({**resource.inputs, "metadata": named})
    (folder / "aws.tf.json").write_text(json.dumps({"resource": made}, indent=1))
    (folder / "kubernetes.yaml").write_text(yaml.safe_dump_all(manifests))
    print(f"{sum(map(len, made.values()))} resources of AWS and {len(manifests)} objects are in {folder}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
