"""Amazon Managed Service for Prometheus of a whole stack: what it scrapes, evaluates and tells whom."""

import json

import pytest
import yaml

from tests.infra.foundations.test_aws import ACCOUNT, run, tracked
from tests.recording import Recording

# The SDK imports its own deprecated modules.
pytestmark = pytest.mark.filterwarnings("ignore:.* has been deprecated in favor of:DeprecationWarning")


@pytest.fixture(scope="module")
def prod() -> Recording:
    return run(tracked())


@pytest.fixture(scope="module")
def monitored() -> Recording:
    return run({**tracked(), "monitoring": {"kind": "managed", "emails": ["oncall@example.com"]}})


def test_it_changes_nothing_that_exists_without_it(prod: Recording, monitored: Recording) -> None:
    with_it = {each.urn: each.inputs for each in monitored.resources}
    assert {each.urn: each.inputs for each in prod.resources}.items() <= with_it.items()


def test_the_scraper_reads_servers_routers_and_the_exporter_of_the_cluster(monitored: Recording) -> None:
    scraper = monitored.one(":Scraper", "prometheus").inputs
    assert scraper["source"]["eks"]["securityGroupIds"] == ["sg-new"]
    assert len(scraper["source"]["eks"]["subnetIds"]) >= 2
    config = yaml.safe_load(scraper["scrapeConfiguration"])
    assert config.keys() == {"global", "scrape_configs"}
    assert {job["job_name"] for job in config["scrape_configs"]} == {"model-servers", "model-routers", "mlops-exporter"}


def test_the_rules_are_those_of_the_stacks_endpoints(monitored: Recording) -> None:
    rules = yaml.safe_load(monitored.one(":RuleGroupNamespace", "prometheus").inputs["data"])
    alerts = {rule.get("alert") for group in rules["groups"] for rule in group["rules"]}
    assert {"EndpointDown", "EndpointFailing", "MlflowDown"} <= alerts


def test_alerts_go_to_a_topic_and_by_it_to_the_addresses(monitored: Recording) -> None:
    definition = json.loads(monitored.one(":AlertManagerDefinition", "prometheus").inputs["definition"])
    config = json.loads(definition["alertmanager_config"])
    (receiver,) = config["receivers"]
    assert receiver["name"] == config["route"]["receiver"]
    (topic,) = receiver["sns_configs"]
    assert (topic["topic_arn"], topic["sigv4"]) == (monitored.exports["alerts"], {"region": "eu-west-1"})
    subscriptions = [each.inputs for each in monitored.all(":TopicSubscription") if "prometheus" in each.name]
    assert [(each["protocol"], each["endpoint"]) for each in subscriptions] == [("email", "oncall@example.com")]


def test_only_the_workspaces_alertmanager_publishes_to_the_topic(monitored: Recording) -> None:
    (statement,) = json.loads(monitored.one(":TopicPolicy", "prometheus").inputs["policy"])["Statement"]
    assert statement["Principal"] == {"Service": "aps.amazonaws.com"}
    assert statement["Condition"]["StringEquals"] == {"aws:SourceAccount": ACCOUNT}
    assert statement["Condition"]["ArnEquals"] == {"aws:SourceArn": "arn:aws:prometheus"}


def test_the_exporter_may_be_scraped_from_the_network(monitored: Recording) -> None:
    (policy,) = [
        each.spec
        for each in monitored.all(":NetworkPolicy")
        if each.name == "mlops-exporter"
    ]  # fmt: skip
    assert policy["ingress"] == [{"ports": [{"port": 9464, "protocol": "TCP"}]}]


def test_the_stack_says_where_the_series_are(monitored: Recording) -> None:
    assert "prometheus" in monitored.exports
