"""Price tables: the prices of AWS in one region, with their date and sources."""

import json
import re
from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

HOURS = 730
"""Hours in a month, as the AWS pricing calculator counts them."""
TABLES = Path(__file__).parent / "tables"
OLD_DAYS = 180
"""Age in days from which a price table is reported as old."""
Unit = Literal[
    "alarm_month",
    "athena_tb",
    "backup_s3_gb_month",
    "between_regions_gb",
    "between_zones_gb",
    "database_backup_gb_month",
    "database_storage_gb_month",
    "database_storage_multi_az_gb_month",
    "ecr_gb_month",
    "eks_cluster_hour",
    "interface_endpoint_gb",
    "interface_endpoint_hour",
    "internet_gb",
    "kms_key_month",
    "kms_requests_10000",
    "load_balancer_hour",
    "load_balancer_lcu_hour",
    "logs_ingested_gb",
    "logs_stored_gb_month",
    "nat_gateway_gb",
    "nat_gateway_hour",
    "node_disk_gb_month",
    "public_ipv4_hour",
    "s3_gb_month",
    "s3_reads_1000",
    "s3_writes_1000",
    "sns_emails_1000",
]


class NotPricedError(Exception):
    """Reason why one resource cannot be estimated, as a clause that follows the resource's name."""


class Model(BaseModel):
    """Frozen pydantic model without unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class NodeType(Model):
    """EC2 instance type."""

    usd: float
    """Price per hour on demand, with Linux, in US dollars."""
    auto_mode_usd: float | None
    """EKS Auto Mode's fee per hour, the same on demand and on spot; None if Auto Mode does not start the type."""
    vcpus: int
    memory_gib: float
    gpus: int


class DatabaseClass(Model):
    """RDS instance class, for PostgreSQL."""

    usd: float
    """Price per hour in one zone, in US dollars."""
    multi_az_usd: float
    """Price per hour with a standby in a second zone, in US dollars."""


class Prices(Model):
    """Prices of one region in US dollars."""

    region: str
    date: date
    """Date of the node prices, which are most of a bill; `source` has the dates of the others."""
    source: Sequence[str]
    spot_share: float = Field(gt=0, le=1)
    """Assumed price of a spot instance as a share of its on-demand price."""
    units: Mapping[Unit, float]
    databases: Mapping[str, DatabaseClass]
    nodes: Mapping[str, NodeType]

    def unit(self, name: Unit) -> float:
        """Return the price of one unit. NotPricedError if the table lacks it."""
        if name not in self.units:
            raise NotPricedError(f"the price table of {self.region} has no {name}")
        return self.units[name]

    def families(self) -> set[str]:
        """Return the instance families that have a price, such as `m7i`."""
        return {name.partition(".")[0] for name in self.nodes}


def load(region: str, folder: Path = TABLES) -> Prices | None:
    """Return the region's price table; None if the folder has none."""
    file = folder / f"{region}.json"
    there = re.fullmatch(r"[a-z0-9-]+", region) and file.is_file()
    return Prices.model_validate_json(file.read_bytes()) if there else None


def shipped() -> Prices:
    """Return the price table of us-east-1, which is part of this package."""
    return Prices.model_validate_json((TABLES / "us-east-1.json").read_bytes())


def save(prices: Prices, folder: Path = TABLES) -> Path:
    """Write the region's table, one instance type on each line, so that a diff shows which price changed."""
    file = folder / f"{prices.region}.json"
    file.write_text(_text(prices.model_dump(mode="json")))
    return file


def _text(table: Mapping[str, Any]) -> str:
    return "{\n" + ",\n".join(f" {json.dumps(key)}: {_value(value)}" for key, value in table.items()) + "\n}\n"


def _value(value: Mapping[str, object] | Sequence[object] | str | float) -> str:
    """Return the value as JSON; a mapping or list has one entry on each line."""
    if isinstance(value, Mapping):
        return "{\n" + ",\n".join(f"  {json.dumps(key)}: {json.dumps(entry)}" for key, entry in value.items()) + "\n }"
    if isinstance(value, Sequence) and not isinstance(value, str):
        return "[\n" + ",\n".join(f"  {json.dumps(entry)}" for entry in value) + "\n ]"
    return json.dumps(value)
