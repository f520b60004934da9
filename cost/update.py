"""Price table from the AWS Price List API, which returns the public prices of every region."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any, Protocol, cast, get_args

import boto3
from botocore.exceptions import BotoCoreError, ClientError

from cost.prices import DatabaseClass, NodeType, Prices, Unit

HOME = "us-east-1"
"""Region in which the Price List API is available; it has the prices of all regions."""


class UpdateError(Exception):
    """Reason why no price table was written, and what to do instead."""


class RegionError(UpdateError):
    """AWS has no prices for a region of this name."""


class Client(Protocol):
    """Interface of boto3's client `pricing`, as far as it is used here."""

    def get_products(self, **request: object) -> Mapping[str, Any]:
        """Return a page of a service's products, each as JSON text."""
        ...


@dataclass(frozen=True, kw_only=True)
class Product:
    """Product of the price list, with the price of its first unit on demand."""

    attributes: Mapping[str, str]
    usd: float

    def __getitem__(self, attribute: str) -> str:
        """Return the attribute; empty if the product has none of that name."""
        return self.attributes.get(attribute, "")


@dataclass(frozen=True, kw_only=True)
class Listed:
    """Location of a unit's price in the price list."""

    service: str
    usage: str
    """End of the usage type; AWS writes a prefix for the region before it."""
    filters: Mapping[str, str]
    of: int = 1
    """Number of AWS's units in one unit of the price table."""


def _listed(service: str, usage: str, filters: Mapping[str, str] | None = None, *, of: int = 1) -> Listed:
    return Listed(service=service, usage=usage, filters=filters or {}, of=of)


_BALANCER = "Load Balancer-Application"
_POSTGRES = {"databaseEngine": "PostgreSQL", "productFamily": "Database Storage", "volumeType": "General Purpose-GP3"}
UNITS: Mapping[Unit, Listed] = {
    "alarm_month": _listed("AmazonCloudWatch", "CW:AlarmMonitorUsage"),
    "athena_tb": _listed("AmazonAthena", "DataScannedInTB"),
    "backup_s3_gb_month": _listed("AWSBackup", "WarmStorage-ByteHrs-S3"),
    "between_regions_gb": _listed("AWSDataTransfer", "AWS-Out-Bytes", {"transferType": "InterRegion Outbound"}),
    "between_zones_gb": _listed("AWSDataTransfer", "DataTransfer-Regional-Bytes", {"transferType": "IntraRegion"}),
    "database_backup_gb_month": _listed("AmazonRDS", "RDS:ChargedBackupUsage", {"databaseEngine": "PostgreSQL"}),
    "database_storage_gb_month": _listed(
        "AmazonRDS", "RDS:GP3-Storage", {**_POSTGRES, "deploymentOption": "Single-AZ"}
    ),
    "database_storage_multi_az_gb_month": _listed(
        "AmazonRDS", "RDS:Multi-AZ-GP3-Storage", {**_POSTGRES, "deploymentOption": "Multi-AZ"}
    ),
    "ecr_gb_month": _listed("AmazonECR", "TimedStorage-ByteHrs"),
    "eks_cluster_hour": _listed("AmazonEKS", "AmazonEKS-Hours:perCluster"),
    "interface_endpoint_gb": _listed("AmazonVPC", "VpcEndpoint-Bytes"),
    "interface_endpoint_hour": _listed("AmazonVPC", "VpcEndpoint-Hours"),
    "internet_gb": _listed("AWSDataTransfer", "DataTransfer-Out-Bytes", {"transferType": "AWS Outbound"}),
    "kms_key_month": _listed("awskms", "KMS-Keys"),
    "kms_requests_10000": _listed("awskms", "KMS-Requests", of=10_000),
    "load_balancer_hour": _listed("AWSELB", "LoadBalancerUsage", {"productFamily": _BALANCER}),
    "load_balancer_lcu_hour": _listed("AWSELB", "LCUUsage", {"productFamily": _BALANCER}),
    "logs_ingested_gb": _listed("AmazonCloudWatch", "DataProcessing-Bytes"),
    "logs_stored_gb_month": _listed("AmazonCloudWatch", "TimedStorage-ByteHrs"),
    "nat_gateway_gb": _listed("AmazonEC2", "NatGateway-Bytes", {"productFamily": "NAT Gateway"}),
    "nat_gateway_hour": _listed("AmazonEC2", "NatGateway-Hours", {"productFamily": "NAT Gateway"}),
    "node_disk_gb_month": _listed("AmazonEC2", "EBS:VolumeUsage.gp3", {"productFamily": "Storage"}),
    "public_ipv4_hour": _listed("AmazonVPC", "PublicIPv4:InUseAddress"),
    "s3_gb_month": _listed("AmazonS3", "TimedStorage-ByteHrs", {"volumeType": "Standard"}),
    "s3_reads_1000": _listed("AmazonS3", "Requests-Tier2", of=1_000),
    "s3_writes_1000": _listed("AmazonS3", "Requests-Tier1", of=1_000),
    "sns_emails_1000": _listed("AmazonSNS", "DeliveryAttempts-SMTP", of=1_000),
}
IN_REGION = {"locationType": "AWS Region"}
"""Filter for the prices in the region itself: Outposts and local zones have the same region code and other prices."""
LINUX = {
    **IN_REGION,
    "productFamily": "Compute Instance",
    "operatingSystem": "Linux",
    "tenancy": "Shared",
    "capacitystatus": "Used",
    "preInstalledSw": "NA",
}
POSTGRES = {**IN_REGION, "productFamily": "Database Instance", "databaseEngine": "PostgreSQL"}
AUTO_MODE = re.compile(r"EKS-Auto:(?P<type>[a-z0-9.-]+)-management-hours$")


def client() -> Client:
    """Return boto3's client with the credentials of the environment."""
    return cast("Any", boto3).client("pricing", region_name=HOME)


def fetch(pricing: Client, region: str, base: Prices, *, today: date) -> Prices:
    """Return today's prices of the region, for the instance families and with the spot share of `base`.

    A price that AWS does not list is left out; resources that need it are then not estimated. UpdateError if AWS does
    not respond, RegionError if the region has no instance type.
    """
    fees = {
        found["type"]: product.usd
        for product in _products(pricing, "AmazonEKS", region, {})
        if (found := AUTO_MODE.search(product["usagetype"]))
    }
    nodes = dict(_nodes(_products(pricing, "AmazonEC2", region, LINUX), fees, base.families()))
    if not nodes:
        raise RegionError(f"the AWS Price List has no instance type in {region}; write an AWS region, as in eu-west-1")
    return Prices(
        region=region,
        date=today,
        source=["AWS Price List API, on demand", "spot_share: assumed, no price list has spot prices"],
        spot_share=base.spot_share,
        units=dict(_units(pricing, region)),
        databases=_databases(list(_products(pricing, "AmazonRDS", region, POSTGRES))),
        nodes=nodes,
    )


def lacking(prices: Prices) -> list[str]:
    """Return the names of the units for which the table has no price."""
    return sorted(set(get_args(Unit)) - set(prices.units))


def _units(pricing: Client, region: str) -> Iterator[tuple[Unit, float]]:
    for unit, listed in UNITS.items():
        ends = re.compile(rf"(^|-){re.escape(listed.usage)}$")
        found = [
            product
            for product in _products(pricing, listed.service, region, listed.filters)
            if ends.search(product["usagetype"])
        ]
        if found:
            # A longer name that ends the same is another product.
            plain = min(found, key=lambda product: len(product["usagetype"]))
            yield unit, round(plain.usd * listed.of, 9)


def _nodes(
    products: Iterator[Product], fees: Mapping[str, float], families: set[str]
) -> Iterator[tuple[str, NodeType]]:
    """Yield the types that Auto Mode may start: more than one CPU, no bare metal (EKS user guide, "Auto Mode")."""
    for product in sorted(products, key=lambda each: each["instanceType"]):
        name = product["instanceType"]
        family, _, size = name.partition(".")
        cpus, memory = int(product["vcpu"] or 0), product["memory"].replace(",", "").removesuffix(" GiB")
        small = size in {"nano", "micro", "small"} or size.startswith("metal")
        if family in families and not small and cpus > 1:
            yield (
                name,
                NodeType(
                    usd=product.usd,
                    auto_mode_usd=fees.get(name),
                    vcpus=cpus,
                    memory_gib=float(memory),
                    gpus=int(product["gpu"] or 0),
                ),
            )


def _databases(products: list[Product]) -> dict[str, DatabaseClass]:
    prices = {(each["instanceType"], each["deploymentOption"]): each.usd for each in products}
    return {
        name: DatabaseClass(usd=usd, multi_az_usd=prices[name, "Multi-AZ"])
        for (name, option), usd in sorted(prices.items())
        if option == "Single-AZ" and (name, "Multi-AZ") in prices
    }


def _products(pricing: Client, service: str, region: str, filters: Mapping[str, str]) -> Iterator[Product]:
    wanted = {"regionCode": region, **filters}
    if service == "AWSDataTransfer":  # lists routes, and a region as the one that they begin in
        wanted = {"fromRegionCode": region, **filters}
    request: dict[str, Any] = {
        "ServiceCode": service,
        "Filters": [{"Type": "TERM_MATCH", "Field": field, "Value": value} for field, value in wanted.items()],
    }
    while True:
        try:
            page = pricing.get_products(**request)
        except (BotoCoreError, ClientError) as problem:
            raise UpdateError(
                f"the AWS Price List did not respond to a request for the prices of {service}: {problem}"
            ) from problem
        for text in page["PriceList"]:
            yield from _on_demand(json.loads(text))
        if not page.get("NextToken"):
            return
        request["NextToken"] = page["NextToken"]


def _on_demand(entry: Mapping[str, Any]) -> Iterator[Product]:
    """Yield the product if it has a price on demand; of several tiers, take the first one that costs something."""
    for term in cast("Mapping[str, Any]", entry.get("terms", {}).get("OnDemand", {})).values():
        tiers = sorted(term["priceDimensions"].values(), key=lambda tier: float(tier.get("beginRange", 0)))
        paid = [usd for tier in tiers if (usd := float(tier["pricePerUnit"].get("USD", 0))) > 0]
        if paid:
            yield Product(attributes=entry["product"]["attributes"], usd=paid[0])
