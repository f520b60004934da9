"""A release changes one number in a stack file, and no other character."""

from difflib import ndiff
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from pull_requests.errors import StackFileError
from pull_requests.stack_file import Challenger, StackFile, digest

ROOT = Path(__file__).parents[2]
A, B = (f"sha256:{letter * 64}" for letter in "ab")
BLOCK = """\
# yaml-language-server: $schema=schema/stack.schema.json
config:
  mlops:training: {churn: {model: churn, version: 1}}
  mlops:endpoints: # a release is one number
    fraud: {version: 7, replicas: {min: 2, max: 4}} # one line
    churn:   # ours
      replicas: {min: 3, max: 20}
      version:   7   # version: 7 since May
      challenger: {version: 77}

    last:
      'version': "7"
"""


def stack(text: str) -> StackFile:
    return StackFile("Pulumi.prod.yaml", text)


def changed(before: str, after: str) -> list[str]:
    """Lines that differ, as in a diff."""
    return [line for line in ndiff(before.splitlines(True), after.splitlines(True)) if line[0] in "-+"]


@pytest.mark.parametrize(
    ("endpoint", "line"),
    [
        ("churn", "+       version:   12   # version: 7 since May\n"),
        ("fraud", "+     fraud: {version: 12, replicas: {min: 2, max: 4}} # one line\n"),
        ("last", "+       'version': \"12\"\n"),
    ],
)
@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
def test_a_release_is_one_line_in_any_style(endpoint: str, line: str, line_end: str) -> None:
    before = BLOCK.replace("\n", line_end)
    after = stack(before).release(endpoint, 12, None).text
    assert changed(before, after)[1:] == [line.replace("\n", line_end)]
    assert len(changed(before, after)) == 2


@pytest.mark.parametrize("file", sorted(ROOT.glob("Pulumi.*.yaml")), ids=lambda file: file.name)
def test_each_endpoint_of_the_tracked_stack_files_can_be_released(file: Path) -> None:
    before = stack(file.read_text())
    for endpoint, entry in before.endpoints().items():
        after = before.release(endpoint, entry.version + 1, None)
        assert len(changed(before.text, after.text)) == 2
        assert after.release(endpoint, entry.version, None) == before


@pytest.mark.parametrize("endpoint", ["churn", "fraud", "last"])
@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
def test_a_digest_is_added_changed_and_taken_away_again(endpoint: str, line_end: str) -> None:
    before = stack(BLOCK.replace("\n", line_end))
    added = before.release(endpoint, 8, A)
    assert added.entry(endpoint).digest == A
    assert len(changed(before.text, added.text)) == (2 if endpoint == "fraud" else 3)
    replaced = added.release(endpoint, 9, B)
    assert replaced.entry(endpoint).digest == B
    assert replaced.release(endpoint, 7, None) == before


@pytest.mark.parametrize("endpoint", ["churn", "fraud", "last"])
@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
@pytest.mark.parametrize("stated", [None, A])
def test_a_challenger_is_added_gets_another_share_and_is_taken_away_again(
    endpoint: str, line_end: str, stated: str | None
) -> None:
    before = stack(BLOCK.replace("      challenger: {version: 77}\n", "").replace("\n", line_end))
    wanted = Challenger(version=8, digest=stated, percent=1, key="X-Customer-Id", experiment="2026")
    added = before.challenge(endpoint, wanted)
    assert added.challenger(endpoint) == wanted
    assert len(changed(before.text, added.text)) == (2 if endpoint == "fraud" else 1)
    more = added.challenge(endpoint, wanted.model_copy(update={"percent": 50}))
    assert added.text.replace("percent: 1", "percent: 50") == more.text
    assert more.challenge(endpoint, None) == before


def test_a_challenger_in_a_block_of_its_own_keeps_its_form_and_goes_without_the_comment_below_it() -> None:
    keys = "".join(f"        {line}\n" for line in ("version: 8", "percent: 5", "key: K", "experiment: e"))
    own = f"      challenger:  # since May\n{keys}"
    text = BLOCK.replace("      challenger: {version: 77}\n", f"{own}      # of the replicas\n      cpu: 1\n")
    before = stack(text)
    challenger = before.challenger("churn")
    assert challenger
    assert before.challenge("churn", challenger.model_copy(update={"percent": 10})).text == text.replace(": 5", ": 10")
    assert before.challenge("churn", None).text == text.replace(own, "")


def test_a_challenger_behind_an_alias_or_without_its_keys_is_left_to_a_person() -> None:
    shared = "config:\n  x: &c {version: 8, percent: 5, key: K, experiment: e}\n  mlops:endpoints:\n    churn:\n"
    before = stack(f"{shared}      version: 7\n      challenger: *c\n")
    wanted = before.challenger("churn")
    assert wanted
    with pytest.raises(StackFileError, match="change it by hand"):
        before.challenge("churn", wanted.model_copy(update={"percent": 10}))
    with pytest.raises(StackFileError, match="lacks a valid version, percent, key or experiment; write all four"):
        stack(BLOCK).challenger("churn")


@pytest.mark.parametrize(
    "entry",
    [
        '{digest: "sha256:x", version: 7}',
        '{version: 7, digest: "sha256:x"}',
        '{version: 7, digest: "sha256:x", model: m}',
        '{digest: "sha256:x",\n  version: 7}',
        "\n      digest: 'sha256:x' # of 7\n      version: 7",
        "\n      version: 7\n      digest: sha256:x",
    ],
)
def test_a_digest_is_removed_from_each_place_in_an_entry(entry: str) -> None:
    after = stack(f"config:\n  mlops:endpoints:\n    churn: {entry}").release("churn", 8, None)
    found = yaml.safe_load(after.text)["config"]["mlops:endpoints"]["churn"]
    assert "digest" not in found
    assert found["version"] == 8


def test_a_file_without_a_last_newline_gets_its_digest_on_a_line_of_its_own() -> None:
    before = "config:\n  mlops:endpoints:\n    churn:\n      version: 7"
    assert stack(before).release("churn", 8, A).text == f'{before[:-1]}8\n      digest: "{A}"\n'


@pytest.mark.parametrize(
    ("endpoints", "why"),
    [
        ("{a: &x {version: 7}, churn: *x}", "churn is written as an alias, or twice"),
        ("{churn: &x {version: 7}, a: *x}", "another entry shares its text by an anchor"),
        ("{a: {version: &v 7}, churn: {version: *v}}", "another entry shares its text by an anchor"),
        ("{a: &x {version: 7}, churn: {<<: *x}}", "its version is not a number on a line of its own entry"),
        ("{churn: {version: 7}, churn: {version: 7}}", "churn is written as an alias, or twice"),
        ("{churn: {version: 7, version: 7}}", "its version is not a number"),
        ("{churn: {version: 0x7}}", "its version is not a number"),
        ("{churn: {version: 7_0}}", "its version is not a number"),
    ],
)
def test_a_form_that_would_change_something_else_is_refused(endpoints: str, why: str) -> None:
    with pytest.raises(StackFileError) as found:
        stack(f"config:\n  mlops:endpoints: {endpoints}\n").release("churn", 8, None)
    assert str(found.value).startswith(f"Pulumi.prod.yaml: churn cannot be changed, because {why}")
    assert str(found.value).endswith("; change it by hand")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("config: {mlops:endpoints: {a: {version: 1}, b: {}}}", "has no endpoint churn; endpoints with a version: a"),
        ("config: {mlops:endpoints: }", "has no endpoint churn; endpoints with a version: none"),
        ("config: {}", "has no endpoint churn"),
        ("config: {mlops:endpoints: [1]}", "mlops:endpoints is not a mapping"),
        ("config: 3", "is not a stack file: it has no mapping `config`"),
        ("- a", "is not a stack file"),
        ("", "is not a stack file"),
        ("config: {a: [}", "is not YAML: while parsing"),
        ("config: \x00", "is not YAML"),
        ("config: !!python/object:os.system {}", "is not YAML"),
    ],
)
def test_a_file_that_is_wrong_is_named_in_one_line(text: str, why: str) -> None:
    with pytest.raises(StackFileError) as found:
        stack(text).release("churn", 8, None)
    (line,) = str(found.value).splitlines()
    assert line.startswith("Pulumi.prod.yaml")
    assert why in line


def test_the_model_of_an_endpoint_and_reasons_for_one_version_are_known() -> None:
    found = stack(
        "config: {mlops:endpoints: {a: {version: 1, model: m, override: because}, b: {version: 2}}}"
    ).endpoints()
    assert (found["a"].model, found["a"].reasons) == ("m", ("override",))
    assert (found["b"].model, found["b"].reasons) == ("b", ())


@pytest.mark.parametrize("text", ["A" * 64, f"sha256:{'a' * 64}", "SHA256:" + "a" * 64])
def test_a_digest_is_taken_in_each_usual_form(text: str) -> None:
    assert digest(text) == A


@pytest.mark.parametrize("text", ["", "a" * 63, "sha512:" + "a" * 64, 'a" , x: "'])
def test_what_is_no_digest_is_refused(text: str) -> None:
    with pytest.raises(StackFileError, match="is not a digest; write sha256: and 64 hexadecimal digits"):
        digest(text)


NAMES = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), min_size=1, max_size=8)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | NAMES, lambda inner: st.dictionaries(NAMES, inner), max_leaves=5
)


@settings(deadline=None, max_examples=30)
@given(
    entries=st.dictionaries(
        NAMES,
        st.fixed_dictionaries({"version": st.integers(1, 10**6)}, optional={"more": VALUES}),
        min_size=1,
        max_size=3,
    ),
    flow=st.sampled_from([None, True, False]),
    width=st.sampled_from([20, 1000]),
    pinned=st.booleans(),
)
def test_any_file_is_changed_in_one_place_or_refused(
    entries: dict[str, dict[str, object]], flow: bool | None, width: int, *, pinned: bool
) -> None:
    text = yaml.safe_dump(
        {"config": {"mlops:endpoints": entries}}, default_flow_style=flow, width=width, allow_unicode=True
    )
    for endpoint, entry in entries.items():
        after = stack(text).release(endpoint, 2_000_000, A if pinned else None)
        found = yaml.safe_load(after.text)["config"]["mlops:endpoints"]
        wanted = {**entry, "version": 2_000_000, **({"digest": A} if pinned else {})}
        assert found == {**entries, endpoint: wanted}
