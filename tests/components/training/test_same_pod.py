"""Conditions that a pod is that of a template. `tests/e2e/test_drift.py` gives them to a real API server."""

from components.training.same_pod import DIGEST, Free, conditions

POD = {
    "service_account_name": "training",
    "containers": [
        {
            "name": "train",
            "image": "lab.local/training:1",
            "args": ['say "hello"', "two\nlines"],
            "env": [
                {"name": "MODEL", "value": "churn"},
                {"name": "KEY", "value_from": {"secret_key_ref": {"name": "geocoder", "key": "token"}}},
            ],
        }
    ],
    "volumes": [{"name": "tmp", "empty_dir": {"size_limit": "2Gi"}}],
}
PLACE = "spec.?containers.orValue([])[0]"


def found() -> dict[str, str]:
    return dict(conditions(POD, "spec"))


def test_what_the_template_states_must_be_equal_with_texts_in_quotes() -> None:
    assert found()["train.image"] == f'{PLACE}.?image.orValue("") == "lab.local/training:1"'
    assert found()["train.args"].endswith(f'{PLACE}.args[0] == "say \\"hello\\"" && {PLACE}.args[1] == "two\\nlines"')
    assert f'{PLACE}.env[1].valueFrom.secretKeyRef.?name.orValue("") == "geocoder"' in found()["train.env"]


def test_what_the_template_does_not_state_must_be_absent() -> None:
    assert found()["train.lifecycle"] == f"!has({PLACE}.lifecycle)"
    assert f"!has({PLACE}.env[0].valueFrom)" in found()["train.env"]
    assert f"size({PLACE}.command) == 0" in found()["train.command"]
    assert found()["init_containers"] == "size(spec.?initContainers.orValue([])) == 0"
    assert found()["volumes"] == "size(spec.?volumes.orValue([])) == 1"


def test_what_is_free_may_differ_but_no_variable_may_come_from_another_secret() -> None:
    free = Free(variables={"MODEL"}, image=DIGEST, arguments=[["[0-9]+"]])
    either = dict(conditions(POD, "spec", free))
    assert either["train.image"].endswith(
        f'({PLACE}.image.matches("^lab\\\\.local/training(@sha256:[0-9a-f]{{64}})$"))'
    )
    assert either["train.args"].endswith('.matches("^([0-9]+)$"))')
    assert not either["train.env"].startswith(found()["train.env"])
    assert 'e.name in ["KEY"] || (e.name in ["MODEL"] && !has(e.valueFrom))' in either["train.env"]
    assert either["train.command"] == found()["train.command"], "what is not free must be equal"


def test_a_pod_has_the_templates_priority_and_node_and_the_name_of_its_image() -> None:
    pod = {**POD, "node_selector": {"pool": "gpu"}}
    fixed = dict(conditions(pod, "spec", Free(variables={"IMAGE"}, image=DIGEST)))
    assert fixed["priority class name"] == "!has(spec.priorityClassName)"
    assert fixed["node selector"] == 'spec.?nodeSelector.orValue({}) == {"pool": "gpu"}'
    assert f"e.name != 'IMAGE' || e.?value.orValue('') == {PLACE}.image" in fixed["train.env"]
