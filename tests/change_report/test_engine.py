"""Messages and violations in what the engine prints."""

from change_report.engine import messages, packs, violations
from tests.change_report.examples import diagnostic, document, violation

URN = "urn:pulumi:prod::mlops::mlops:aws:Bucket$aws:s3/bucket:Bucket::artifacts"


def test_a_violation_names_the_rule_the_resource_and_what_is_wrong() -> None:
    (found,) = violations([violation("mandatory", "buckets-want-tls", "it takes plain HTTP", URN)])
    assert (found.policy, found.resource, found.sentence) == (
        "buckets-want-tls",
        "Bucket artifacts",
        "it takes plain HTTP",
    )
    assert (found.rule, found.mandatory) == ("What the rule says.", True)


def test_mandatory_violations_come_before_advice_and_none_comes_twice() -> None:
    advice, rule = violation("advisory", "a", "could be better", URN), violation("mandatory", "b", "is wrong", URN)
    assert [each.policy for each in violations([advice, rule, rule])] == ["b", "a"]


def test_a_violation_of_the_whole_stack_has_no_resource() -> None:
    stack = "urn:pulumi:prod::mlops::pulumi:pulumi:Stack::mlops-prod"
    assert [each.resource for each in violations([violation("mandatory", "a", "x", urn) for urn in (stack, "")])] == [
        ""
    ]


def test_packs_that_ran_are_named() -> None:
    assert packs([{"summaryEvent": {"PolicyPacks": {"mlops|local|/somewhere": "1.0.0"}}}]) == ("mlops",)
    assert packs([{"summaryEvent": {}}, {"cancelEvent": {}}]) == ()


def test_errors_and_warnings_are_reported_once_without_secrets() -> None:
    secret = "AKIA" + "IOSFODNN7EXAMPLE"
    found = messages(
        document(
            diagnostics=[
                diagnostic("error", f"key {secret} is wrong\nin two lines"),
                diagnostic("error", f"key {secret} is wrong\nin two lines"),
                diagnostic("error", "preview failed"),
                diagnostic("error", "an unhandled error occurred: program exited with non-zero exit code: 1"),
                diagnostic("error", ""),
                diagnostic("warning", "old"),
                diagnostic("warning", " "),
                {"severity": "info#err", "message": "noise"},
            ]
        )
    )
    assert found.errors == ("key (hidden) is wrong\nin two lines",)
    assert found.warnings == ("old",)


def test_a_program_that_ends_without_a_message_leaves_the_engines_own() -> None:
    exited = "an unhandled error occurred: program exited with non-zero exit code: 1"
    said = [diagnostic("error", exited), diagnostic("error", "preview failed")]
    assert messages(document(diagnostics=said)).errors == (exited,)
    assert messages(document(diagnostics=said[1:])).errors == ()


def test_a_document_without_messages_has_none() -> None:
    assert not messages({}).errors
    assert not messages({"diagnostics": None}).warnings
