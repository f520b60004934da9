"""Which cluster, and as whom."""

import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from lab.providers.kubernetes import kubeconfig, settings
from lab.providers.kubernetes.kubeconfig import Access, KubeconfigError


def config(**user: Any) -> dict[str, Any]:
    return {
        "current-context": "one",
        "contexts": [
            {"name": "one", "context": {"cluster": "a", "user": "u", "namespace": "mine"}},
            {"name": "two", "context": {"cluster": "b", "user": "u"}},
        ],
        "clusters": [
            {"name": "a", "cluster": {"server": "https://a:6443/"}},
            {"name": "b", "cluster": {"server": "https://b:6443", "insecure-skip-tls-verify": True}},
        ],
        "users": [{"name": "u", "user": user or {"token": "t"}}],
    }


def load(text: str | None, **chosen: str) -> Access:
    wanted = {"context": None, "cluster": None, "namespace": None, **chosen}
    return kubeconfig.load(text, **wanted)


def test_contents_path_and_environment_lead_to_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = yaml.safe_dump(config())
    file = tmp_path / "kubeconfig"
    file.write_text(text)
    monkeypatch.setenv("KUBECONFIG", f"{tmp_path / 'none'}:{file}")
    for given in (text, str(file), None):
        access = load(given)
        assert (access.server, access.namespace, access.headers()) == (
            "https://a:6443",
            "mine",
            {"Authorization": "Bearer t"},
        )


def test_another_context_is_chosen_by_name_and_a_wrong_one_told_with_those_that_exist() -> None:
    text = yaml.safe_dump(config())
    assert (load(text, context="two").server, load(text, context="two").namespace) == ("https://b:6443", "default")
    assert load(text, namespace="other").namespace == "other"
    with pytest.raises(KubeconfigError, match="no context 'three'; it has: one, two"):
        load(text, context="three")


def test_a_path_that_is_wrong_is_named(tmp_path: Path) -> None:
    with pytest.raises(KubeconfigError, match=r"neither YAML nor a file that exists: .*nowhere"):
        load(str(tmp_path / "nowhere"))


def test_no_kubeconfig_at_all_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KUBECONFIG", raising=False)
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(KubeconfigError, match=r"there is no kubeconfig: .* no \$KUBECONFIG, no ~/.kube/config"):
        load(None)
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "gone"))
    with pytest.raises(KubeconfigError, match=r"\$KUBECONFIG is .*gone, which does not exist"):
        load(None)


def test_a_credential_plugin_is_asked_for_a_token_once_while_it_lasts(tmp_path: Path) -> None:
    calls = tmp_path / "calls"
    script = tmp_path / "plugin.py"
    script.write_text(
        "import json, os, pathlib\n"
        f"pathlib.Path({str(calls)!r}).open('a').write(os.environ['MORE'])\n"
        "print(json.dumps({'status': {'token': 'from-plugin', 'expirationTimestamp': '2999-01-01T00:00:00Z'}}))\n"
    )
    more = [{"name": "MORE", "value": "x"}]
    user = {"exec": {"command": sys.executable, "args": [str(script)], "env": more, "apiVersion": "v1"}}
    access = load(yaml.safe_dump(config(**user)))
    assert [access.headers(), access.headers()] == [{"Authorization": "Bearer from-plugin"}] * 2
    assert calls.read_text() == "x"


def test_a_credential_plugin_that_is_missing_is_named() -> None:
    access = load(yaml.safe_dump(config(exec={"command": "no-such-plugin"})))
    with pytest.raises(KubeconfigError, match="'no-such-plugin' is not installed"):
        access.headers()


def test_the_arguments_of_the_provider_come_as_json_or_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PULUMI_K8S_ENABLE_CONFIGMAP_MUTABLE", "true")
    found = settings.read({"enablePatchForce": "true", "deleteUnreachable": "false", "namespace": "n"})
    assert (found.patch_force, found.delete_unreachable, found.namespace) == (True, False, "n")
    assert found.mutable_data == {"ConfigMap"}


def test_what_only_the_official_plugin_can_do_is_refused_by_name() -> None:
    assert set(settings.refusals({"renderYamlToDirectory": "x", "enableServerSideApply": "false", "context": "c"})) == {
        "renderYamlToDirectory",
        "enableServerSideApply",
    }
