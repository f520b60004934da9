"""Router's pods."""

import json

from tests.components.endpoint.test_arms import CHALLENGER, LOGGED, NAME
from tests.deployed import deployed


def test_two_routers_reach_the_pods_of_their_endpoint_and_take_time_to_stop() -> None:
    recording = deployed({**LOGGED, f"endpoints.{NAME}.challenger": CHALLENGER})
    spec = recording.one(":Deployment", f"{NAME}-router").spec
    pod = spec["template"]["spec"]
    (envoy,) = pod["containers"]
    assert spec["replicas"] == 2
    assert pod["terminationGracePeriodSeconds"] > 5 + 35
    config = json.loads(envoy["command"][envoy["command"].index("--config-yaml") + 1])
    hosts = [
        cluster["load_assignment"]["endpoints"][0]["lb_endpoints"][0]["endpoint"]["address"]["socket_address"][
            "address"
        ]
        for cluster in config["static_resources"]["clusters"]
        if cluster["name"] in {"champion", "challenger"}
    ]
    assert hosts == [f"{NAME}-champion.ml-serving", f"{NAME}-challenger.ml-serving"]
    assert {recording.one(":Service", host.partition(".")[0]).metadata["namespace"] for host in hosts} == {"ml-serving"}
    (rule,) = recording.one(":NetworkPolicy", f"{NAME}-router").spec["egress"]
    assert {port["port"] for port in rule["ports"]} == {8080, 8081}
    (peers,) = rule["to"]
    labels = recording.one(":Deployment", f"{NAME}-challenger").spec["template"]["metadata"]["labels"]
    assert peers["podSelector"]["matchLabels"].items() <= labels.items()
