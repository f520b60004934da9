"""Rights of people as the API server decides them, in the lab, where an administrator takes their groups."""

import pytest

from contract import names

from .conftest import Platform

pytestmark = pytest.mark.e2e

READ, FORWARD = f"list pods {names.TRAINING}", f"create pods/portforward {names.PLATFORM}"
TRAIN, LOGS = f"create jobs.batch {names.TRAINING}", f"get pods/log {names.TRAINING}"
DELETE, RESTART = f"delete pods {names.SERVING}", f"patch deployments.apps {names.SERVING}"
SCALE = f"patch deployments.apps/scale {names.SERVING}"
SECRETS, ENTER = f"get secrets {names.TRAINING}", f"create pods/exec {names.SERVING}"
OTHERS = f"delete pods {names.PLATFORM}"
EVERYTHING = {READ, FORWARD, TRAIN, LOGS, DELETE, RESTART, SCALE, SECRETS, ENTER, OTHERS}
RIGHTS = {
    names.VIEWERS: {READ, FORWARD},
    names.TRAINERS: {READ, FORWARD, TRAIN, LOGS},
    names.ONCALL: {READ, FORWARD, LOGS, DELETE, RESTART, SCALE},
    names.ADMINS: EVERYTHING,
    "strangers": set[str](),
}


@pytest.mark.parametrize("group", RIGHTS)
def test_a_person_may_do_what_the_group_may_and_nothing_else(platform: Platform, group: str) -> None:
    def may(request: str) -> bool:
        verb, resource, namespace = request.split()
        kind, _, subresource = resource.partition("/")
        what = (verb, kind, f"--subresource={subresource}", "-n", namespace)
        asked = ("auth", "can-i", *what, "--as", "ada", "--as-group", group)
        return platform.lab("kubectl", *asked, check=False).returncode == 0

    assert {request for request in EVERYTHING if may(request)} == RIGHTS[group]
