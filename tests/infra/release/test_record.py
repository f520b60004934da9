from components.endpoint.release import Files
from contract import names
from infra.release.record import parse

PARENT = "urn:pulumi:prod::mlops::mlops:index:ModelEndpoint"
DEPLOYMENT = f"{PARENT}$kubernetes:apps/v1:Deployment::churn"


def test_the_release_of_a_former_program_is_known_by_its_label_and_counts_as_released() -> None:
    metadata = {"annotations": {}, "labels": {"app.kubernetes.io/version": "7"}}
    recorded = parse({f"{PARENT}::churn": {"outputs": {"url": "u"}}, DEPLOYMENT: {"outputs": {"metadata": metadata}}})
    assert [(one.model, one.version) for one in recorded.past("churn")] == [("churn", 7)]
    assert recorded.files("churn", "churn", 7, "") is None, "the former program did not keep where the files are"


def test_a_version_has_the_files_with_which_it_was_served_last() -> None:
    releases = [
        {"model": "churn", "version": 7.0, "source": "s3://b/old", "digest": "a"},
        {"model": "churn", "version": 8.0, "source": "s3://b/8", "digest": "b"},
        {"model": "churn", "version": 7.0, "source": "s3://b/new", "digest": "c"},
    ]
    recorded = parse({f"{PARENT}::churn": {"outputs": {"releases": releases}}})
    assert recorded.files("churn", "churn", 7, "") == Files(source="s3://b/new", digest="c")
    assert recorded.files("churn", "churn", 7, "sha256:a") == Files(source="s3://b/old", digest="a")
    assert recorded.files("churn", "other", 7, "") is None


def test_a_release_that_failed_is_served_by_the_state_and_not_in_the_past() -> None:
    text = '{"model": "churn", "version": 9, "source": "s3://b/9", "digest": "d"}'
    outputs = {"metadata": {"annotations": {names.RELEASE: text}}}
    recorded = parse({DEPLOYMENT: {"outputs": outputs}})
    assert recorded.served["churn"].version == 9
    assert recorded.past("churn") == ()


def test_a_version_that_was_rolled_out_counts_although_the_update_failed_elsewhere() -> None:
    text = '{"model": "churn", "version": 9, "source": "s3://b/9", "digest": "d"}'
    status = {
        "observedGeneration": 4.0,
        "updatedReplicas": 2.0,
        "conditions": [{"type": "Progressing", "status": "True", "reason": "NewReplicaSetAvailable"}],
    }
    releases = [{"model": "churn", "version": 8.0, "source": "s3://b/8", "digest": "b"}]

    def past(generation: int, **more: float) -> list[int]:
        metadata = {"annotations": {names.RELEASE: text}, "generation": generation}
        deployment = {"outputs": {"metadata": metadata, "status": {**status, **more}}}
        recorded = parse({f"{PARENT}::churn": {"outputs": {"releases": releases}}, DEPLOYMENT: deployment})
        return [one.version for one in recorded.past("churn")]

    assert past(generation=4) == [8, 9]
    assert past(generation=5) == [8], "Kubernetes has not seen the last change yet"
    assert past(generation=4, updatedReplicas=0) == [8], "the conditions are those of the former pods"


def test_a_rollback_that_failed_is_unfinished_and_the_version_before_it_is_the_last_that_succeeded() -> None:
    text = '{"model": "churn", "version": 7, "source": "s3://b/7", "digest": "a"}'
    deployment = {"outputs": {"metadata": {"annotations": {names.RELEASE: text}}}}
    releases = [
        {"model": "churn", "version": 7.0, "source": "s3://b/7", "digest": "a"},
        {"model": "churn", "version": 8.0, "source": "s3://b/8", "digest": "b"},
    ]
    state = {f"{PARENT}::churn": {"outputs": {"releases": releases}}, DEPLOYMENT: deployment}
    recorded = parse(state)
    assert recorded.is_unfinished("churn")
    assert (last := recorded.succeeded("churn"))
    assert last.version == 8
    again = parse({**state, f"{PARENT}::churn": {"outputs": {"releases": [*releases, releases[0]]}}})
    assert not again.is_unfinished("churn")


def test_files_that_a_refresh_found_in_the_cluster_do_not_become_those_of_a_released_version() -> None:
    text = '{"model": "churn", "version": 8, "source": "s3://elsewhere/8", "digest": "f"}'
    deployment = {"outputs": {"metadata": {"annotations": {names.RELEASE: text}}}}
    releases = [{"model": "churn", "version": 8.0, "source": "s3://b/8", "digest": "b"}]
    recorded = parse({f"{PARENT}::churn": {"outputs": {"releases": releases}}, DEPLOYMENT: deployment})
    assert recorded.files("churn", "churn", 8, "") == Files(source="s3://b/8", digest="b")
    assert [one.digest for one in recorded.past("churn")] == ["b"]


def test_the_state_says_whether_the_stack_has_mlflow() -> None:
    server = "urn:pulumi:prod::mlops::mlops:index:MlflowServer$kubernetes:apps/v1:Deployment::mlflow"
    assert parse({server: {"outputs": {}}}).has_tracking
    assert not parse({}).has_tracking
