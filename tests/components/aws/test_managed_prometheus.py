"""Amazon Managed Service for Prometheus of a whole stack: what it scrapes, evaluates and tells whom."""

import json
from collections.abc import Mapping

import pulumi
import pytest
import yaml

from tests.infra.foundations.test_aws import ACCOUNT, run, tracked
from tests.recording import Recording

# The SDK imports its own deprecated modules.
pytestmark = pytest.mark.filterwarnings("ignore:.* has been deprecated in favor of:DeprecationWarning")

GROUP = "93675f1a-4e0a-4a1c-9d1c-0a1b2c3d4e5f"
GRAFANA = {"kind": "identity_center", "admin_groups": [GROUP], "viewer_groups": [GROUP.replace("5f", "60")]}
SAML = {
    "kind": "saml", "metadata_url": "https://login.example.com/saml", "role_attribute": "groups",
    "admin_roles": ["ml-platform"], "editor_roles": ["data-science"],
}  # fmt: skip


@pytest.fixture(scope="module")
def prod() -> Recording:
    return run(tracked())


@pytest.fixture(scope="module")
def monitored() -> Recording:
    return run({**tracked(), "monitoring": {"kind": "managed", "emails": ["oncall@example.com"], "grafana": GRAFANA}})


def test_it_changes_nothing_that_exists_without_it(prod: Recording, monitored: Recording) -> None:
    with_it = {each.urn: each.inputs for each in monitored.resources}
    assert {each.urn: each.inputs for each in prod.resources}.items() <= with_it.items()


def test_the_scraper_reads_servers_routers_the_exporter_and_mlflow(monitored: Recording) -> None:
    scraper = monitored.one(":Scraper", "prometheus").inputs
    assert scraper["source"]["eks"]["securityGroupIds"] == ["sg-new"]
    assert len(scraper["source"]["eks"]["subnetIds"]) >= 2
    config = yaml.safe_load(scraper["scrapeConfiguration"])
    assert config.keys() == {"global", "scrape_configs"}
    assert {job["job_name"] for job in config["scrape_configs"]} == {
        "model-servers", "model-routers", "mlops-exporter", "mlflow",
    }  # fmt: skip


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


def test_the_role_of_grafana_may_query_the_workspace_and_change_nothing(monitored: Recording) -> None:
    trust = json.loads(monitored.one("iam/role:Role", "grafana").inputs["assumeRolePolicy"])["Statement"][0]
    assert trust["Principal"] == {"Service": "grafana.amazonaws.com"}
    assert trust["Condition"]["StringEquals"] == {"aws:SourceAccount": ACCOUNT}
    query, listing = json.loads(monitored.one(":RolePolicy", "grafana").inputs["policy"])["Statement"]
    assert query["Resource"] == ["arn:aws:prometheus"]
    actions = {*query["Action"], *listing["Action"]}
    assert "aps:QueryMetrics" in actions
    assert all(each.partition(":")[2].startswith(("Describe", "Get", "List", "Query")) for each in actions)
    workspace = monitored.one("grafana/workspace:Workspace", "grafana").inputs
    assert (workspace["permissionType"], workspace["dataSources"]) == ("CUSTOMER_MANAGED", ["PROMETHEUS"])


def test_groups_of_identity_center_have_roles_in_grafana(monitored: Recording) -> None:
    assert monitored.one("grafana/workspace:Workspace", "grafana").inputs["authenticationProviders"] == ["AWS_SSO"]
    roles = {each.inputs["role"]: each.inputs["groupIds"] for each in monitored.all(":RoleAssociation")}
    assert roles == {"ADMIN": GRAFANA["admin_groups"], "VIEWER": GRAFANA["viewer_groups"]}


def test_with_saml_the_identity_provider_says_who_administers_grafana() -> None:
    found = run({**tracked(), "monitoring": {"kind": "managed", "grafana": SAML}})
    assert found.one("grafana/workspace:Workspace", "grafana").inputs["authenticationProviders"] == ["SAML"]
    login = found.one(":WorkspaceSamlConfiguration", "grafana").inputs
    assert (login["idpMetadataUrl"], login["roleAssertion"]) == (SAML["metadata_url"], SAML["role_attribute"])
    assert (login["adminRoleValues"], login["editorRoleValues"]) == (SAML["admin_roles"], SAML["editor_roles"])
    assert not found.all(":RoleAssociation")


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"kind": "password"}, 'grafana.kind is "password": must be identity_center or saml'),
        ({"kind": None}, "grafana.kind is missing"),
        ({"admin_groups": []}, "must name at least one group, because without an administrator"),
        ({"admin_groups": ["admins"]}, 'is "admins": must be the id of a group of IAM Identity Center'),
        (
            {**SAML, "metadata_url": "http://login.example.com"},
            "must be an HTTPS URL, because the metadata has the key",
        ),
    ],
)
def test_a_wrong_login_of_grafana_is_refused_before_anything_is_touched(
    change: Mapping[str, object], sentence: str
) -> None:
    base = {} if change.get("kind") == "saml" else GRAFANA
    grafana = {key: value for key, value in {**base, **change}.items() if value is not None}
    with pytest.raises(pulumi.RunError) as refused:
        run({**tracked(), "monitoring": {"kind": "managed", "grafana": grafana}})
    assert sentence in str(refused.value)


def test_the_stack_says_where_grafana_is(monitored: Recording, prod: Recording) -> None:
    assert monitored.exports["grafana"] == "https://g-0123.grafana-workspace.eu-west-1.amazonaws.com"
    assert "grafana" not in prod.exports
