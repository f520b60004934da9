"""Messages of the engine, and violations of policies."""

from collections.abc import Iterable, Sequence

from model_preview.facts import Frozen
from model_preview.redact import plain
from runs.drift import Object

STACK = "pulumi:pulumi:Stack"
FAILED = "preview failed"
"""Message that the engine adds to every cause, also to a violated policy."""
EXITED = "an unhandled error occurred: program exited with non-zero exit code"
"""Start of the message that the engine adds when the program ended with an error."""


class Violation(Frozen):
    """Rule of a policy pack that a planned resource breaks."""

    policy: str
    resource: str
    """Kind and name of the resource; empty for a rule about the whole stack."""
    sentence: str
    """Description of the violation."""
    rule: str
    """Explanation of the rule; empty if the pack has none."""
    mandatory: bool
    """True if the violation stops an update; False if it is advice."""


class Messages(Frozen):
    """Errors and warnings that the engine and the program printed in a preview. A message may have several lines."""

    errors: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


def violations(events: Iterable[Object]) -> tuple[Violation, ...]:
    """Return the violations in the engine's events, the mandatory ones first."""
    found = [_violation(each["policyEvent"]) for each in events if "policyEvent" in each]
    return tuple(sorted(dict.fromkeys(found), key=lambda each: (not each.mandatory, each.policy, each.resource)))


def packs(events: Iterable[Object]) -> tuple[str, ...]:
    """Return the names of the policy packs that the engine ran."""
    ran: list[Object] = [each["summaryEvent"] for each in events if "summaryEvent" in each]
    names: list[str] = [name for each in ran for name in each.get("PolicyPacks") or ()]
    return tuple(name.partition("|")[0] for name in names)


def messages(document: Object) -> Messages:
    """Return the errors and warnings of a preview, each of them once."""
    said: Sequence[Object] = document.get("diagnostics") or ()
    errors = [_text(each) for each in said if each["severity"] == "error"]
    told = [each for each in errors if each not in {"", FAILED}]
    causes = [each for each in told if not each.startswith(EXITED)] or told
    warnings = [_text(each) for each in said if each["severity"] == "warning"]
    return Messages(errors=tuple(dict.fromkeys(causes)), warnings=tuple(dict.fromkeys(filter(None, warnings))))


def _violation(event: Object) -> Violation:
    """pulumi-policy writes the explanation of the rule first, and what is wrong with the resource on the last line."""
    rule, _, sentence = event["message"].strip().rpartition("\n")
    urn: str = event.get("resourceUrn", "")
    kind, _, name = urn.split("::", 2)[-1].rpartition("::")
    kind = kind.rpartition("$")[2]
    return Violation(
        policy=plain(event["policyName"]),
        resource="" if kind == STACK else plain(f"{kind.rpartition(':')[2]} {name}".strip()),
        sentence=plain(sentence),
        rule=plain(rule),
        mandatory=event["enforcementLevel"] == "mandatory",
    )


def _text(diagnostic: Object) -> str:
    """Return the message without the word before it, each line without secrets."""
    text = diagnostic["message"].strip().removeprefix(f"{diagnostic['severity']}:")
    return "\n".join(plain(line) for line in text.splitlines() if line.strip())
