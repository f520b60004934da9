"""Conditions that a pod is that of a template. `tests/e2e/test_drift.py` gives them to a real API server."""

from components.training.same_pod import Free, conditions

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
    free = Free(variables={"MODEL"}, image=True, arguments=[["[0-9]+"]])
    either = dict(conditions(POD, "spec", free))
    assert either["train.image"].endswith(f'({PLACE}.image.matches("^lab\\\\.local/training@sha256:[0-9a-f]{{64}}$"))')
    assert either["train.args"].endswith('.matches("^([0-9]+)$"))')
    assert 'e.name in ["KEY"] || (e.name in ["MODEL"] && !has(e.valueFrom))' in either["train.env"]
    assert either["train.command"] == found()["train.command"], "what is not free must be equal"
