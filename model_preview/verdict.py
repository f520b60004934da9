"""Gate that decides from facts alone whether an endpoint's next version may go live.

| reason | unprotected stack | protected stack |
| --- | --- | --- |
| the version does not exist, or is not the one with the digest in the stack file | fails | fails |
| the registry records an image for it that is not in the repository of `mlops:images.serving` | fails | fails |
| its files are outside the stack's artifact bucket | fails | fails |
| its validation refused it | fails | fails |
| a notebook trained it, and no validation has found the Job that reproduced it | fails | fails |
| it breaks clients of the served version, without `allow_breaking_signature` | fails | fails |
| its `override` was written for another version | fails | fails |
| it was not validated, its validation did not finish, or no report proves its result | warns | fails |
| it was validated against an older champion | warns | fails |
| it is archived | warns | fails |
| it has no digest, so its files cannot be verified | warns | fails |
| its packages are not those of the serving image, or not known | warns | fails |
| its signature, or the served version's, is not known | warns | fails |
| the endpoint has `drift`, and the version has no reference profile | warns | fails |
| MLflow did not respond, or refused the request | warns | fails |

`mlops:gate.mode`, `warn` or `fail`, decides about the last eight reasons instead of the columns. A version that the
stack has released before passes, and so does a change that keeps the version; neither needs MLflow. A rollback to a
former champion passes even if that version is archived or was validated long ago.
"""

import shlex
from collections.abc import Iterator, Sequence
from enum import StrEnum
from typing import Literal

from contract.stages import BROKEN, CHAMPION, NO_CHAMPION, PASSED, REFUSED, RUNNING, UNPROVEN, Stage
from contract.tags import MODEL_DIGEST
from model_preview import images
from model_preview.diff import ModelDiff
from model_preview.facts import PROFILE, Change, Facts, Frozen, Reference, Unverified, Version
from model_preview.packages import Fit
from model_preview.redact import plain

NUMBERS_NAMED = 10
"""Largest number of versions that a sentence names."""


class Code(StrEnum):
    """Identifier of a reason."""

    MISSING = "missing"
    OTHER_DIGEST = "other_digest"
    OTHER_IMAGE = "other_image"
    OUTSIDE_BUCKET = "outside_bucket"
    REFUSED = "refused"
    BREAKS_SIGNATURE = "breaks_signature"
    STALE_OVERRIDE = "stale_override"
    NOTEBOOK = "notebook"
    NOT_VALIDATED = "not_validated"
    OLDER_CHAMPION = "older_champion"
    ARCHIVED = "archived"
    NO_DIGEST = "no_digest"
    PACKAGES = "packages"
    UNKNOWN_SIGNATURE = "unknown_signature"
    NO_PROFILE = "no_profile"
    UNVERIFIED = "unverified"


ALWAYS_FAIL = frozenset(
    {
        Code.MISSING,
        Code.OTHER_DIGEST,
        Code.OTHER_IMAGE,
        Code.OUTSIDE_BUCKET,
        Code.REFUSED,
        Code.NOTEBOOK,
        Code.BREAKS_SIGNATURE,
        Code.STALE_OVERRIDE,
    }
)
"""Reasons that fail in every stack."""
NEVER_OVERRIDDEN = frozenset(
    {Code.MISSING, Code.OTHER_DIGEST, Code.OTHER_IMAGE, Code.OUTSIDE_BUCKET, Code.STALE_OVERRIDE}
)
"""Reasons that an override does not remove, because such a version cannot be served."""


class Gate(Frozen):
    """Settings of the stack and of one endpoint that the gate reads."""

    protected: bool = False
    """True if the stack is protected: then the reasons outside ALWAYS_FAIL fail the preview too."""
    mode: Literal["warn", "fail"] | None = None
    """`mlops:gate.mode`: whether the reasons outside ALWAYS_FAIL warn or fail; None: `protected` decides."""
    allow_breaking_signature: str = ""
    """User's reason why the release may break clients; empty if it may not."""
    override: str = ""
    """User's reason why this version may go live in spite of the gate; empty without an override."""
    served_override: str = ""
    """Override of the release that is served now."""
    image: str = ""
    """Endpoint's key `image`: a reference, `auto`, or empty for the standard image."""
    standard_image: str = ""
    """Reference of the standard serving image, `mlops:images.serving`; empty if unknown."""
    bucket: str = ""
    """s3:// URI of the stack's artifact bucket, the only one that its pods may read; empty if unknown."""
    released: tuple[Reference, ...] = ()
    """Versions that this stack has released before."""

    @property
    def is_strict(self) -> bool:
        """True if the reasons outside ALWAYS_FAIL fail the preview."""
        return self.protected if self.mode is None else self.mode == "fail"


class Reason(Frozen):
    """Reason of the gate against a release."""

    code: Code
    said: str
    """Clause on one line whose subject is the version."""
    fails: bool
    """True if this reason fails the preview; False if it is a warning."""
    mend: str
    """Command that removes the reason."""


class Kind(StrEnum):
    """Decision about a release."""

    PASSES = "passes"
    ROLLBACK = "rollback"
    """Decision about a release that goes back to a version served before; it passes."""
    REFUSED = "refused"
    UNVERIFIED = "unverified"


class Verdict(Frozen):
    """Decision of the gate about one endpoint."""

    kind: Kind
    line: str
    """Decision on one line, with the most important reason."""
    fails: bool
    reasons: tuple[Reason, ...] = ()

    @property
    def sentence(self) -> str:
        """Decision on one line, with every reason and its command; a resource hook raises this text."""
        told = (one.mend if one.said in self.line else f"{one.said}: {one.mend}" for one in self.reasons)
        return "; ".join((self.line, *told))


def needs_facts(change: Change, gate: Gate) -> bool:
    """Return whether the gate needs facts from MLflow; False for a change that passes in any case."""
    return not (is_unchanged(change) or _was_released(change, gate))


def is_unchanged(change: Change) -> bool:
    """Return whether the change keeps the version. Other files than the served ones are another version."""
    old, new = change.old, change.new
    return new is None or bool(
        old and (old.model, old.version) == (new.model, new.version) and is_same_digest(old.digest, new.digest)
    )


def is_same_digest(one: str, other: str) -> bool:
    """Return whether two digests are equal, with or without `sha256:`; an empty one stands for any."""
    return not (one and other) or _plain(one) == _plain(other)


def judge(change: Change, facts: Facts | Unverified | None, diff: ModelDiff | None, gate: Gate) -> Verdict:
    """Return whether the change may go live, and why not.

    Args:
        change: endpoint, its served version and its next one.
        facts: facts from MLflow, or the reason why they cannot be read; None if `needs_facts` is False.
        diff: difference of the two versions; None without facts.
        gate: settings of the stack and of the endpoint.
    """
    old, new, title = change.old, change.new, _title(change)
    if new is None:
        return _passes(f"{title} passes: no version is served afterwards")
    if is_unchanged(change):
        return _passes(f"{title} passes: the version stays the same")
    if _was_released(change, gate):
        back = bool(old and old.model == new.model and new.version < old.version)
        said = "is a rollback to a version that this stack has released before"
        if not back:
            said = "passes: this stack has released the version before"
        return _passes(f"{title} {said}", Kind.ROLLBACK if back else Kind.PASSES)
    if isinstance(facts, Unverified):
        found = [_reason(Code.UNVERIFIED, facts.why, _command("models", new.model), gate)]
    elif facts is None or diff is None:
        raise ValueError(f"{title}: the gate needs the facts of MLflow, see needs_facts")
    else:
        found = list(_reasons(change, facts, diff, gate))
    if gate.override and gate.override == gate.served_override:
        found = [_reason(Code.STALE_OVERRIDE, _stale(change, gate), _unset(change), gate), *found]
    elif gate.override:
        found = [one if one.code in NEVER_OVERRIDDEN else one.model_copy(update={"fails": False}) for one in found]
    return _verdict(title, tuple(found), gate, back=bool(diff and is_rollback(diff.old, diff.new)))


def is_rollback(old: Version | None, new: Version | None) -> bool:
    """Return whether the new version was the champion before the old one, and no rollback has archived it since."""
    if not (old and new and new.was_champion) or old.model != new.model or new.rolled_back:
        return False
    if CHAMPION in new.aliases and new.restored:
        return True
    if new.promoted_at and old.promoted_at:
        # The registry records whole seconds; within one second, the lower number counts as the earlier promotion.
        return (new.promoted_at, new.number) < (old.promoted_at, old.number)
    return new.number < old.number


def _verdict(title: str, reasons: tuple[Reason, ...], gate: Gate, *, back: bool) -> Verdict:
    failures = [one for one in reasons if one.fails]
    if [one.code for one in reasons] == [Code.UNVERIFIED] and not gate.override:
        line = f"{title} could not be verified because {reasons[0].said}"
        return Verdict(kind=Kind.UNVERIFIED, line=line, fails=bool(failures), reasons=reasons)
    if failures:
        line = f"{title} is refused because {_first(failures)}"
        return Verdict(kind=Kind.REFUSED, line=line, fails=True, reasons=reasons)
    said = "is a rollback to a former champion" if back else "passes"
    if gate.override and reasons:
        said += f" by override ({_one_line(gate.override)}), although {_first(reasons)}"
    elif reasons:
        said += f", with {len(reasons)} warning{'s' if len(reasons) > 1 else ''}"
    kind = Kind.ROLLBACK if back else Kind.PASSES
    return Verdict(kind=kind, line=f"{title} {said}", fails=False, reasons=reasons)


def _reasons(change: Change, facts: Facts, diff: ModelDiff, gate: Gate) -> Iterator[Reason]:
    """Yield every reason, those that always fail first."""
    wanted, new = change.new, diff.new
    if wanted is None:
        return
    if new is None:
        yield _reason(Code.MISSING, _missing(wanted, facts), _command("models", wanted.model), gate)
        return
    yield from _files(change, wanted, new, gate)
    if new.validation_status == REFUSED:
        yield _reason(Code.REFUSED, _refused(new), _command("train", new.training_job or new.model), gate)
    yield from _signature(change, diff, gate)
    back = is_rollback(diff.old, new)
    if new.validation_status not in {PASSED, REFUSED} and not back:
        code = Code.NOTEBOOK if new.is_of_notebook else Code.NOT_VALIDATED
        yield _reason(code, _unvalidated(new), _command("validate", new.model, new.number), gate)
    elif new.validation_status == PASSED and not back:
        yield from _older_champion(change, facts, new, gate)
    if new.stage is Stage.ARCHIVED and not back:
        mend = _command("promote", new.model, new.number, Stage.STAGING)
        yield _reason(Code.ARCHIVED, f"version {new.number} is archived", mend, gate)
    if not new.digest:
        said = f"version {new.number} has no tag {MODEL_DIGEST}, so its files cannot be verified"
        yield _reason(Code.NO_DIGEST, said, _command("validate", new.model, new.number), gate)
    yield from _packages(change, diff, new, gate)
    if change.needs_profile and (why := new.unknown.get(PROFILE)):
        said = f"version {new.number} has no reference profile ({why}), so its drift cannot be measured"
        yield _reason(Code.NO_PROFILE, _one_line(said), _command("train", new.training_job or new.model), gate)


def _files(change: Change, wanted: Reference, new: Version, gate: Gate) -> Iterator[Reason]:
    """Yield a reason if the version's files are not the stated ones, or no pod may read them."""
    if wanted.digest and new.digest and _plain(wanted.digest) != _plain(new.digest):
        stated = _plain(wanted.digest)[:12]
        said = f"version {new.number} has the digest {new.digest[:12]}, and the stack file says {stated}"
        yield _reason(Code.OTHER_DIGEST, said, _unset(change, "digest"), gate)
    if gate.bucket and new.source and not new.source.startswith(f"{gate.bucket}/"):
        said = f"the files of version {new.number} are in {new.source}, and the stack's pods read only {gate.bucket}"
        yield _reason(Code.OUTSIDE_BUCKET, _one_line(said), _command("train", new.training_job or new.model), gate)


def _missing(wanted: Reference, facts: Facts) -> str:
    model = facts.models.get(wanted.model)
    if model is None:
        return f"the registry has no model {wanted.model}"
    newest = [str(number) for number in model.numbers[-NUMBERS_NAMED:]]
    more = f"{len(model.numbers) - NUMBERS_NAMED} older ones and " if len(model.numbers) > NUMBERS_NAMED else ""
    known = f"versions that exist: {more}{', '.join(newest)}" if newest else "it has no version yet"
    return f"{wanted.model} has no version {wanted.version} ({known})"


def _refused(new: Version) -> str:
    faults = [check.said for check in new.report.checks if check.outcome == "refused"] if new.report else []
    return _one_line(
        f"version {new.number} was refused by its validation" + (f" ({'; '.join(faults)})" if faults else "")
    )


def _unvalidated(new: Version) -> str:
    if new.is_of_notebook:
        return f"a notebook trained version {new.number}, and no validation has found the Job that reproduced it"
    match new.validation_status:
        case "":
            return f"version {new.number} was not validated"
        case status if status == RUNNING:
            return f"version {new.number} is being validated, or its validation was killed"
        case status if status == BROKEN:
            return f"the validation of version {new.number} failed before it had a result"
        case status if status == UNPROVEN:
            why = new.unknown.get("validation report", "there is no report")
            return _one_line(
                f"a tag says that version {new.number} passed its validation, and nothing proves it: {why}"
            )
        case status:
            return _one_line(
                f"version {new.number} has the validation status {status!r}, which this platform does not write"
            )


def _older_champion(change: Change, facts: Facts, new: Version, gate: Gate) -> Iterator[Reason]:
    """Yield a reason unless the version was compared with the champion, the served version or a newer one."""
    model = facts.models.get(new.model)
    champion = model.aliases.get(CHAMPION) if model and CHAMPION not in model.dangling else None
    served = change.old.version if change.old and change.old.model == new.model else None
    against = new.validated_against
    compared = int(against) if against.isdecimal() and len(against) < 20 else None
    if champion == new.number or (champion is None and served is None and against == NO_CHAMPION):
        return
    if compared is not None and (compared == champion or (served is not None and compared >= served)):
        return
    present = served if champion is None or (served is not None and served > champion) else champion
    alone = (
        "alone" if against == NO_CHAMPION else f"against version {against}" if against else "against an unknown version"
    )
    what = "served now" if present == served else "the champion now"
    said = f"version {new.number} was validated {alone}, and version {present} is {what}"
    if present is None:
        said = f"version {new.number} was validated {alone}, and there is no champion now"
    mend = _command("validate", new.model, new.number)
    yield _reason(Code.OLDER_CHAMPION, _one_line(said), mend, gate)


def _signature(change: Change, diff: ModelDiff, gate: Gate) -> Iterator[Reason]:
    if change.old is None or gate.allow_breaking_signature:
        return
    mend = _set(change, "allow_breaking_signature")
    if diff.signature and diff.signature.breaking:
        said = f"version {change.new and change.new.version} breaks clients of version {change.old.version}"
        said = _one_line(f"{said} ({'; '.join(diff.signature.breaking)})")
        yield _reason(Code.BREAKS_SIGNATURE, said, mend, gate)
    elif diff.signature is None:
        blind = diff.new if diff.new and diff.new.signature is None else diff.old
        why = blind.unknown.get("signature", "") if blind else "it no longer exists"
        number = blind.number if blind else change.old.version
        said = _one_line(f"the signature of version {number} is not known{f' ({why})' if why else ''}")
        yield _reason(Code.UNKNOWN_SIGNATURE, said, mend, gate)


def _packages(change: Change, diff: ModelDiff, new: Version, gate: Gate) -> Iterator[Reason]:
    own = new.serving_image
    build = shlex.join(["mlops", "image", new.model, "--version", str(new.number)])
    if gate.image == images.AUTO and own and not images.is_of_platform(own, gate.standard_image):
        said = (
            f"the registry names the image {own} for version {new.number}, which is not a serving image of this stack"
        )
        yield _reason(Code.OTHER_IMAGE, _one_line(said), f"{build} --registry HOST/PATH", gate)
        return
    if own and gate.image in {images.AUTO, own}:
        return
    if gate.image not in {"", images.AUTO, gate.standard_image}:
        said = f"it is not known whether the image {gate.image} has the packages of version {new.number}"
        yield _reason(Code.PACKAGES, _one_line(said), build, gate)
        return
    mend = _command("train", new.training_job or new.model)
    if new.requirements is None:
        why = new.unknown.get("packages", "")
        said = _one_line(f"the packages of version {new.number} are not known{f' ({why})' if why else ''}")
        yield _reason(Code.PACKAGES, said, mend, gate)
        return
    wrong = [one for one in diff.packages if one.fit in {Fit.MISSING, Fit.OTHER}]
    if wrong:
        listed = "; ".join(f"{one.name} {one.new}, the image has {one.image or 'none'}" for one in wrong)
        said = _one_line(f"version {new.number} needs packages that the serving image lacks ({listed})")
        key = f"{change.entry}.image"
        auto = "" if gate.image else f" && {shlex.join(['pulumi', 'config', 'set', '--path', key, images.AUTO])}"
        yield _reason(Code.PACKAGES, said, build + auto, gate)
    elif any(one.fit is Fit.UNKNOWN for one in diff.packages):
        said = f"the packages of the serving image of version {new.number} are not known"
        yield _reason(Code.PACKAGES, said, "git restore requirements.lock", gate)


def _reason(code: Code, said: str, mend: str, gate: Gate) -> Reason:
    return Reason(code=code, said=said, fails=code in ALWAYS_FAIL or gate.is_strict, mend=mend)


def _first(reasons: Sequence[Reason]) -> str:
    more = f", and for {len(reasons) - 1} more reason{'s' if len(reasons) > 2 else ''}" if len(reasons) > 1 else ""
    return f"{reasons[0].said}{more}"


def _passes(line: str, kind: Kind = Kind.PASSES) -> Verdict:
    return Verdict(kind=kind, line=line, fails=False)


def _title(change: Change) -> str:
    old, new = change.old, change.new
    if new is None:
        return f"{change.endpoint}: removing version {old.version}" if old else change.endpoint
    if old is None:
        return f"{change.endpoint}: first version {new.version}"
    was = f"{old.model} {old.version}" if old.model != new.model else f"version {old.version}"
    now = f"{new.model} {new.version}" if old.model != new.model else str(new.version)
    return f"{change.endpoint}: {was} -> {now}"


def _was_released(change: Change, gate: Gate) -> bool:
    """Return whether the stack has released this version before; the digest counts only if the stack file states it."""
    new = change.new
    return bool(new) and any(
        (one.model, one.version) == (new.model, new.version)
        and (not new.digest or _plain(new.digest) == _plain(one.digest))
        for one in gate.released
    )


def _stale(change: Change, gate: Gate) -> str:
    """Return the reason against an override that was written for another version than the next one."""
    old = change.old.version if change.old else "another"
    return _one_line(f"its override ({gate.override}) was written for version {old}")


def _plain(digest: str) -> str:
    return digest.removeprefix("sha256:").lower()


def _command(verb: str, *words: object) -> str:
    return shlex.join(["mlops", verb, *map(str, words)])


def _set(change: Change, key: str) -> str:
    if change.role in {"challenger", "shadow"}:  # such a version cannot be forced beside the served one
        return shlex.join(["pulumi", "config", "rm", "--path", f"{change.entry}.{change.role}"])
    return f"{shlex.join(['pulumi', 'config', 'set', '--path', f'{change.entry}.{key}'])} '<reason>'"


def _unset(change: Change, key: str = "override") -> str:
    return shlex.join(["pulumi", "config", "rm", "--path", f"{change.entry}.{key}"])


def _one_line(text: str) -> str:
    """Return the text on one line of at most 400 characters: the engine prints a hook's message several times."""
    line = plain(text)
    return line if len(line) <= 400 else f"{line[:397]}..."
