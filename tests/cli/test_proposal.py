"""`mlops propose`: a pull request, or one line that says why there is none."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from mlflow import MlflowClient

from cli import target
from cli.errors import CommandError
from contract.exit_codes import ExitCode
from contract.tags import MODEL_DIGEST, PROPOSED
from model_preview import reading
from model_preview.facts import Change, Facts, Model, Unverified, Version
from tests.command import Command
from tests.pull_requests.github_double import GitHub, environment, serve
from tests.registry import MODEL, Registry

FILE = """\
config:
  mlops:foundation: {{kind: aws, artifacts: {{}}}}
  mlops:endpoints:
    churn: {{version: {version}{more}, model: churn-predictor}} # ours
    fraud: {{version: 3}}
    fraud-staging: {{version: 4, model: fraud}}
"""
BRANCH = "mlops/release-prod-churn"
NOWHERE = ("--tracking-uri", "http://127.0.0.1:1")
A, B = ("a" * 64, "b" * 64)


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A git checkout with a stack file, which is the working folder."""
    folder = tmp_path / "checkout"
    folder.mkdir()
    monkeypatch.chdir(folder)
    (folder / "Pulumi.yaml").write_text("name: mlops\n")
    for words in (["init", "--quiet"], ["config", "user.name", "ada"], ["config", "user.email", "ada@example.com"]):
        subprocess.run(["git", *words], check=True)
    for version in (6, 7):
        (folder / "Pulumi.prod.yaml").write_text(FILE.format(version=version, more=""))
        subprocess.run(["git", "add", "."], check=True)
        subprocess.run(["git", "commit", "--quiet", "--message", f"Release {version}"], check=True)
    return folder


@pytest.fixture
def github(tmp_path: Path, checkout: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[GitHub]:
    """GitHub, which has the stack file of the checkout."""
    for name in ("GITHUB_RUN_ID", "MLFLOW_TRACKING_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    with serve(tmp_path) as made:
        made.commit("main", {"Pulumi.prod.yaml": (checkout / "Pulumi.prod.yaml").read_text()})
        for name, value in environment(made).items():
            monkeypatch.setenv(name, value)
        yield made


@pytest.fixture
def registered(monkeypatch: pytest.MonkeyPatch) -> dict[int, Version]:
    """Versions of churn-predictor that MLflow has, with what it says about them."""
    found = {number: version(number) for number in (7, 8)}

    def read(uri: str, changes: list[Change], *, token: str = "") -> Facts | Unverified:
        del uri, changes, token
        model = Model(name=MODEL, aliases={"champion": 7}, numbers=tuple(found))
        return Facts(models={MODEL: model}, versions={(MODEL, number): one for number, one in found.items()})

    monkeypatch.setattr(reading, "read", read)
    return found


def version(number: int, **facts: object) -> Version:
    made = Version(model=MODEL, number=number, digest=A, validation_status="passed", validated_against="7")
    return made.model_copy(update=facts)


@pytest.mark.usefixtures("registered")
def test_a_version_is_proposed_with_the_model_report(github: GitHub, mlops: Command) -> None:
    code, said = mlops("propose", MODEL, 8, "--stack", "prod", *NOWHERE)
    assert (code, said) == (0, "https://github.com/octo-org/platform/pull/12: churn: version 7 -> 8 in prod (opened)\n")
    (pull,) = github.pulls
    assert "churn: version 7 -&#62; 8" in pull["body"]
    assert "changes `Pulumi.prod.yaml` only" in pull["body"]
    assert github.git("diff", "--numstat", f"main...{BRANCH}") == "1\t1\tPulumi.prod.yaml"
    assert mlops("propose", MODEL, 8, "--stack", "prod", *NOWHERE)[1].endswith("(unchanged)\n")


def test_an_mlflow_that_does_not_respond_is_reported_in_the_report(github: GitHub, mlops: Command) -> None:
    assert mlops("propose", MODEL, 8, "--stack", "prod", *NOWHERE)[0] == 0
    assert "could not be verified because MLflow at" in github.pulls[0]["body"]


def test_a_missing_address_of_mlflow_is_stated_in_the_report(
    github: GitHub, mlops: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unknown(_: str | None) -> str:
        raise CommandError("the lab does not run", ExitCode.FAILED)

    monkeypatch.setattr(target, "tracking", unknown)
    assert mlops("propose", MODEL, 8, "--stack", "prod")[0] == 0
    assert "could not be verified because MLflow was not asked: the lab does not run" in github.pulls[0]["body"]
    assert mlops("propose", MODEL, "--tagged", "--stack", "prod") == (1, "mlops: the lab does not run\n")


@pytest.mark.parametrize(
    ("facts", "said"),
    [
        ({8: None}, f"is refused because {MODEL} has no version 8 (versions that exist: 7)"),
        ({8: {"validation_status": "refused"}}, "is refused because version 8 was refused by its validation"),
    ],
)
def test_a_version_that_can_never_go_live_is_refused(
    github: GitHub, mlops: Command, registered: dict[int, Version], facts: dict[int, dict[str, object]], said: str
) -> None:
    for number, about in facts.items():
        if about:
            registered[number] = version(number, **about)
        else:
            del registered[number]
    code, output = mlops("propose", MODEL, 8, "--stack", "prod", *NOWHERE)
    assert (code, len(output.splitlines())) == (3, 1)
    assert said in output
    assert github.pulls == []


def test_a_version_that_was_not_validated_yet_is_proposed_with_the_command_that_validates_it(
    github: GitHub, mlops: Command, registered: dict[int, Version]
) -> None:
    registered[8] = version(8, validation_status="")
    assert mlops("propose", MODEL, 8, "--stack", "prod", *NOWHERE)[0] == 0
    assert f"<code>mlops validate {MODEL} 8</code>" in github.pulls[0]["body"]


@pytest.mark.usefixtures("registered")
def test_an_entry_with_a_digest_gets_the_one_of_the_new_version(github: GitHub, mlops: Command) -> None:
    github.commit("main", {"Pulumi.prod.yaml": FILE.format(version=7, more=f', digest: "sha256:{B}"')})
    assert mlops("propose", MODEL, 8, "--stack", "prod", *NOWHERE)[0] == 0
    after = github.git("show", f"{BRANCH}:Pulumi.prod.yaml")
    assert f'churn: {{version: 8, digest: "sha256:{A}", model: churn-predictor}} # ours' in after


def test_an_unknown_digest_is_an_error(github: GitHub, mlops: Command) -> None:
    github.commit("main", {"Pulumi.prod.yaml": FILE.format(version=7, more=f', digest: "sha256:{B}"')})
    code, said = mlops("propose", MODEL, 8, "--stack", "prod", *NOWHERE)
    assert code == 1
    assert (
        "churn needs the digest of version 8 in the stack file (tag model_digest), and it is not known: MLflow at"
        in said
    )
    assert github.pulls == []


def test_a_rollback_is_proposed_without_mlflow(github: GitHub, mlops: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:1")
    code, said = mlops("propose", MODEL, "--previous", "--stack", "prod")
    assert code == 0
    assert said.endswith("churn: version 7 -> 6 in prod (opened)\n")
    assert "is a rollback to a version that this stack has released before" in github.pulls[0]["body"]
    assert "Release 6" in github.pulls[0]["body"]


@pytest.mark.usefixtures("registered")
def test_a_dry_run_shows_title_text_and_difference_and_writes_nothing(github: GitHub, mlops: Command) -> None:
    code, said = mlops("propose", MODEL, 8, "--stack", "prod", "--dry-run", *NOWHERE)
    assert code == 0
    assert said.startswith("churn: version 7 -> 8 in prod\n")
    assert "+    churn: {version: 8, model: churn-predictor} # ours\n" in said
    assert said.endswith("nothing was changed\n")
    assert set(github.asked) == {"repos/get", "git/get-ref", "git/get-commit", "repos/get-content"}


@pytest.mark.usefixtures("registered")
def test_a_version_that_a_person_declined_is_reported(github: GitHub, mlops: Command) -> None:
    assert mlops("propose", MODEL, 8, "--stack", "prod", *NOWHERE)[0] == 0
    github.pulls[0]["state"] = "closed"
    code, said = mlops("propose", MODEL, 8, "--stack", "prod", *NOWHERE)
    assert code == 3
    assert "/pull/12 was closed without a merge, so version 8 is not proposed again" in said
    assert len(github.pulls) == 1


@pytest.mark.usefixtures("registered")
def test_a_pull_request_by_the_token_of_github_actions_is_warned_of(
    github: GitHub, mlops: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GITHUB_TOKEN", "ghs_actions")
    code, said = mlops("propose", MODEL, 8, "--stack", "prod", *NOWHERE)
    assert code == 0
    assert "so it starts no checks; set GITHUB_TOKEN to the token of a GitHub App" in said
    assert len(github.pulls) == 1


@pytest.mark.usefixtures("registered")
def test_a_version_that_the_base_branch_has_already_is_no_proposal(github: GitHub, mlops: Command) -> None:
    code, said = mlops("propose", MODEL, 7, "--stack", "prod", *NOWHERE)
    assert (code, said) == (0, "Pulumi.prod.yaml of main: churn has version 7; nothing to propose\n")
    assert github.pulls == []


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            ["absent", 8],
            "Pulumi.prod.yaml of main: no endpoint serves absent; models that are served: churn-predictor, fraud",
        ),
        (["fraud", 8], "Pulumi.prod.yaml of main: 2 endpoints serve fraud; write --endpoint fraud or fraud-staging"),
        (["fraud", 8, "--endpoint", "churn"], "churn serves churn-predictor; write `mlops propose churn-predictor`"),
        (
            ["fraud", 8, "--endpoint", "none"],
            "has no endpoint none; endpoints with a version: churn, fraud, fraud-staging",
        ),
        (["fraud"], "write the number of the version, or --tagged, or --previous"),
        (["fraud", 8, "--tagged"], "write the number of the version, or --tagged, or --previous"),
        (["fraud", "--previous", "--copy-from", "http://x"], "write it without --copy-from"),
        (["fraud", "latest"], "Invalid value for 'VERSION'"),
    ],
)
def test_a_wrong_request_is_one_line(github: GitHub, mlops: Command, words: list[object], said: str) -> None:
    code, output = mlops("propose", *words, "--stack", "prod", *NOWHERE)
    (line,) = output.splitlines()
    assert code == 2
    assert said in line
    assert github.pulls == []


@pytest.mark.long
def test_the_newest_tagged_version_is_copied_its_number_there_is_proposed_and_the_digests_are_compared(
    github: GitHub, mlops: Command, registry: Registry, checkout: Path
) -> None:
    target = f"sqlite:///{checkout.parent}/prod.db"
    source, there = MlflowClient(registry.uri), MlflowClient(target)
    there.create_registered_model(MODEL)
    for _ in range(7):
        there.create_model_version(MODEL, "file:///nowhere")
    words = ("propose", MODEL, "--tagged", "--stack", "prod", "--copy-from", registry.uri, "--tracking-uri", target)
    code, said = mlops(*words)
    assert (code, said) == (0, f"no version of {MODEL} at {registry.uri} has the tag proposed; nothing to propose\n")
    source.set_model_version_tag(MODEL, "1", PROPOSED, "drift of tenure")
    try:
        assert "would be copied" in mlops(*words, "--dry-run")[1]
        assert len(there.search_model_versions("")) == 7
        for done in ("opened", "unchanged"):
            code, said = mlops(*words)
            assert code == 0, said
            assert f"{MODEL} version 1 at {registry.uri} is version 8 of the stack's MLflow; the digests agree" in said
            assert said.endswith(f"churn: version 7 -> 8 in prod ({done})\n")
        assert "is a copy of version 1" in github.pulls[0]["body"]
        former = source.get_model_version(MODEL, "1").tags[MODEL_DIGEST]
        source.set_model_version_tag(MODEL, "1", MODEL_DIGEST, B)
        code, said = mlops(*words)
        assert code == 3
        assert f"copy of files with the digest {former}, and version 1 has the digest {B} now" in said
        source.set_model_version_tag(MODEL, "1", MODEL_DIGEST, former)
    finally:
        source.delete_model_version_tag(MODEL, "1", PROPOSED)
