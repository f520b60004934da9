"""Price tables from the AWS Price List API, by answers in its form."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any, cast

import boto3
import pytest
from botocore.exceptions import EndpointConnectionError
from botocore.stub import Stubber

from cli import main
from contract.exit_codes import ExitCode
from cost import prices, update
from cost.prices import Prices, load, save, shipped
from cost.report import of_document
from cost.update import LINUX, UNITS, UpdateError, fetch, lacking
from tests.cost.plans import TODAY, document, nat_gateway, node_pool

M7I = {**LINUX, "instanceType": "m7i.large", "vcpu": "2", "memory": "8 GiB", "usagetype": "EU-BoxUsage:m7i.large"}
G6 = {**M7I, "instanceType": "g6.xlarge", "vcpu": "4", "memory": "16 GiB", "gpu": "1"}
POSTGRES = {
    "locationType": "AWS Region",
    "productFamily": "Database Instance",
    "databaseEngine": "PostgreSQL",
    "instanceType": "db.m7g.large",
}
PAGE = 2
"""Products in one page of the double's answers."""


def listed(service: str, attributes: Mapping[str, str], *tiers: tuple[int, float]) -> tuple[str, str]:
    """A product as the API writes it; `tiers` are where each begins, and its price."""
    dimensions = {
        f"rate{begin}": {"beginRange": str(begin), "pricePerUnit": {"USD": f"{usd:.10f}"}} for begin, usd in tiers
    }
    where = "fromRegionCode" if service == "AWSDataTransfer" else "regionCode"
    product = {"attributes": {where: "eu-west-1", **attributes}}
    return service, json.dumps({"product": product, "terms": {"OnDemand": {"term": {"priceDimensions": dimensions}}}})


@dataclass
class PriceList:
    """Answers as the API does: the products of a service that match all filters, page by page."""

    products: list[tuple[str, str]]

    def get_products(self, **request: object) -> Mapping[str, Any]:
        wanted = {each["Field"]: each["Value"] for each in cast("list[dict[str, str]]", request["Filters"])}
        found = [
            text
            for service, text in self.products
            if service == request["ServiceCode"] and wanted.items() <= json.loads(text)["product"]["attributes"].items()
        ]
        start = int(str(request.get("NextToken", 0)))
        more = {"NextToken": str(start + PAGE)} if start + PAGE < len(found) else {}
        return {"PriceList": found[start : start + PAGE], **more}


def everything() -> PriceList:
    """Each price once, at 0.5 dollars, and prices that are not to be taken beside them."""
    products = [
        listed(each.service, {**each.filters, "usagetype": f"EU-{each.usage}"}, (0, 0.5)) for each in UNITS.values()
    ]
    return PriceList([
        *products,
        listed("AmazonEC2", M7I, (0, 0.107)),
        listed("AmazonEC2", {**M7I, "tenancy": "Dedicated"}, (0, 9)),
        listed("AmazonEC2", {**M7I, "locationType": "AWS Outposts"}, (0, 9)),
        listed("AmazonEC2", {"usagetype": "EU-Other-NatGateway-Hours", "productFamily": "NAT Gateway"}, (0, 9)),
        listed("AmazonEC2", {**M7I, "instanceType": "m7i.metal-24xl", "vcpu": "96"}, (0, 9)),
        listed("AmazonEC2", G6, (0, 0.9)),
        listed("AmazonEC2", {**M7I, "instanceType": "x1.large"}, (0, 9)),
        listed("AmazonEKS", {"usagetype": "EU-EKS-Auto:m7i.large-management-hours"}, (0, 0.0128)),
        listed("AmazonRDS", {**POSTGRES, "deploymentOption": "Single-AZ"}, (0, 0.18)),
        listed("AmazonRDS", {**POSTGRES, "deploymentOption": "Multi-AZ"}, (0, 0.36)),
    ])  # fmt: skip


def test_the_regions_own_prices_are_taken_with_the_day() -> None:
    table = fetch(everything(), "eu-west-1", shipped(), today=date(2026, 12, 1))
    assert (table.region, table.date) == ("eu-west-1", date(2026, 12, 1))
    assert {name: (each.usd, each.auto_mode_usd, each.gpus) for name, each in table.nodes.items()} == {
        "m7i.large": (0.107, 0.0128, 0),
        "g6.xlarge": (0.9, None, 1),
    }
    assert (table.databases["db.m7g.large"].usd, table.databases["db.m7g.large"].multi_az_usd) == (0.18, 0.36)
    assert not lacking(table)
    assert table.units["nat_gateway_hour"] == 0.5
    assert table.units["kms_requests_10000"] == 5000


def test_of_several_tiers_the_first_that_costs_something_counts() -> None:
    attributes = {"usagetype": "EU-DataTransfer-Out-Bytes", "transferType": "AWS Outbound"}
    answers = everything()
    answers.products = [
        *(each for each in answers.products if each[0] != "AWSDataTransfer"),
        listed("AWSDataTransfer", attributes, (10240, 0.085), (0, 0), (100, 0.09)),
    ]
    assert fetch(answers, "eu-west-1", shipped(), today=TODAY).units["internet_gb"] == 0.09


def test_what_aws_does_not_list_is_left_out_and_then_not_estimated(tmp_path: Path) -> None:
    answers = everything()
    answers.products = [each for each in answers.products if "NatGateway-Hours" not in each[1]]
    table = fetch(answers, "eu-west-1", shipped(), today=TODAY)
    assert lacking(table) == ["nat_gateway_hour"]
    save(table, tmp_path)
    assert load("eu-west-1", tmp_path) == table
    pool = node_pool("gpu", ["g6"], ["on-demand"], {"nvidia.com/gpu": "1"})
    estimate = of_document(document(nat_gateway(), *pool, region="eu-west-1"), prices=table, today=TODAY)
    assert sorted(each.why for each in estimate.not_estimated) == [
        "the price table of eu-west-1 has no g6",
        "the price table of eu-west-1 has no nat_gateway_hour",
    ]
    assert not estimate.lines


def test_a_region_that_does_not_exist_is_named() -> None:
    with pytest.raises(UpdateError, match="no instance type in eu-west-9"):
        fetch(everything(), "eu-west-9", shipped(), today=TODAY)


def test_a_refusal_of_aws_is_reported_in_one_sentence() -> None:
    pricing = cast("Any", boto3).client(
        "pricing", region_name="us-east-1", aws_access_key_id="none", aws_secret_access_key="none"
    )
    stub = cast("Any", Stubber(pricing))
    with stub:
        request = {
            "ServiceCode": "AmazonEKS",
            "Filters": [{"Type": "TERM_MATCH", "Field": "regionCode", "Value": "eu-west-1"}],
        }
        stub.add_client_error("get_products", "AccessDeniedException", "not allowed", expected_params=request)
        with pytest.raises(
            UpdateError, match=r"did not respond to a request for the prices of AmazonEKS: .*not allowed"
        ):
            fetch(pricing, "eu-west-1", shipped(), today=TODAY)


@pytest.fixture
def tables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that the command writes price tables to."""

    def saved(table: Prices) -> Path:
        return save(table, tmp_path)

    monkeypatch.setattr(prices, "save", saved)
    return tmp_path


def test_the_command_writes_the_table_and_says_what_is_in_it_and_what_is_not(
    tables: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    answers = everything()
    answers.products = [each for each in answers.products if "NatGateway-Hours" not in each[1]]
    monkeypatch.setattr(update, "client", lambda: answers)
    assert main.run(["cost", "--update-prices", "eu-west-1"]) == ExitCode.DONE
    assert capsys.readouterr().out.splitlines() == [
        f"{tables / 'eu-west-1.json'}: 2 instance types, 1 database classes, {len(UNITS) - 1} other prices",
        "AWS lists no price for nat_gateway_hour; what needs them is not estimated",
    ]
    assert load("eu-west-1", tables)


def test_a_region_that_does_not_exist_is_bad_input_and_aws_that_does_not_answer_a_failure(
    tables: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(update, "client", everything)
    assert main.run(["cost", "--update-prices", "eu-west-9"]) == ExitCode.BAD_INPUT
    assert "mlops: the AWS Price List has no instance type in eu-west-9" in capsys.readouterr().err
    monkeypatch.setattr(update, "client", Silent)
    assert main.run(["cost", "--update-prices", "eu-west-1"]) == ExitCode.FAILED
    assert (
        "mlops: the AWS Price List did not respond to a request for the prices of AmazonEKS" in capsys.readouterr().err
    )
    assert not list(tables.iterdir())


class Silent:
    """A price list that cannot be reached."""

    def get_products(self, **request: object) -> Mapping[str, Any]:
        raise EndpointConnectionError(endpoint_url=str(request["ServiceCode"]))
