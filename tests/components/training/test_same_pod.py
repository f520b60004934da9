"""Conditions that a pod is that of a template. `tests/e2e/test_drift.py` gives them to a real API server."""

from components.training.same_pod import conditions

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
