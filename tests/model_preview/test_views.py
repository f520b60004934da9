"""Views for readers of a terminal, of a pull request and of JSON; the text of a model cannot change them."""

import io
import json

import pytest
from markdown_it import MarkdownIt
from markdown_it.token import Token
from rich.console import Console

from model_preview.facts import Change, Unverified
from model_preview.markdown import escape, markdown
from model_preview.preview import Preview, preview
from model_preview.redact import HIDDEN, redact, redact_values
from model_preview.terminal import show
from tests.model_preview.examples import (
    IMAGE,
    PROTECTED,
    UNPROTECTED,
    champion,
    facts,
    judged,
    refused,
    release,
    report,
    slices,
    version,
)

HOSTILE = (
    "</details> @org/team `rm -rf` | <img src=x> **bold** fixes #12 GH-3 https://example.com/a [x](y) $x$ "
    "\u202e \x1b[2J"
)
# Each is a credential's form, and none is one; in two parts, so that no scanner takes this file for a leak.
SECRETS = [
    "AKIA" + "IOSFODNN7EXAMPLE",
    "ghp" + "_abcdefghijklmnopqrstuvwxyz0123456789",
    "github_pat" + "_11ABCDEFG0abcdefghijkl",
    "wJalrXUtnFEMI/K7MDENG" + "/bPxRfiCYEXAMPLEKEY",
    "eyJhbGciOiJIUzI1NiJ9" + ".eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N",
    "pul-" + "0123456789abcdef" * 2,
    "-----BEGIN RSA PRIVATE KEY-----\nabc\n" + "-----END RSA PRIVATE KEY-----",
]


def rendered(text: str) -> str:
    return MarkdownIt("gfm-like", {"linkify": False}).render(text)


def shown(found: Preview, width: int = 80) -> str:
    console = Console(file=io.StringIO(), width=width, highlight=False, force_terminal=True)
    show(console, found)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def good() -> Preview:
    new = version(
        8,
        report=report(8, 7, slices=slices(monthly=0.05, yearly=-0.02)),
        description="a forest",
        parameters={"trees": "200"},
        image="registry.example.com/a-long-folder/of-images/with-names/training@sha256:" + "3" * 64,
        unknown={"run": "MLflow no longer has run 3f2a9c1"},
    )
    return judged(release(7, 8), facts(champion(7, parameters={"trees": "100"}), new))


def hostile() -> Preview:
    new = version(8, description=HOSTILE, parameters={HOSTILE: HOSTILE}, author=HOSTILE, unknown={HOSTILE: HOSTILE})
    return judged(release(7, 8), facts(champion(7), new))


def test_a_terminal_of_80_columns_shows_every_figure_and_no_line_is_cut() -> None:
    text = shown(good())
    for figure in (
        "version 7 -> 8 passes",
        "+0.010 (+0.000 to +0.020)",
        "Worst where contract is monthly",
        "trees",
        "MLflow no longer has run 3f2a9c1",
    ):
        assert figure in text
    assert max(map(len, shown(hostile()).splitlines())) < 200  # with the codes of colours
    plain = Console(file=io.StringIO(), width=80)
    show(plain, good())
    assert isinstance(plain.file, io.StringIO)
    assert max(map(len, plain.file.getvalue().splitlines())) <= 80


def test_a_refusal_comes_first_with_the_command_that_mends_it() -> None:
    found = judged(release(7, 8), facts(champion(7), version(8, validation_status="")))
    for text in (shown(found), markdown([found])):
        verdict, *others = [line for line in text.splitlines() if line.strip()]
        assert "is refused because version 8 was not validated" in verdict
        assert "mlops validate churn-predictor 8" in "\n".join(others[:2])


def test_a_models_text_is_no_markup_in_a_terminal() -> None:
    new = version(8, description="[red]alarm[/red] [link=https://example.com]x[/link]")
    assert "[red]alarm[/red]" in shown(judged(release(7, 8), facts(champion(7), new)))
    assert "\x1b[2J" not in shown(hostile())


def test_a_models_text_opens_and_closes_nothing_in_a_comment() -> None:
    text = markdown([hostile()])
    assert (text.count("<details>"), text.count("</details>")) == (1, 1)
    page = rendered(text)
    assert page.count("</details>") == 1
    for tag in ("<img", "<strong>bold", "<a ", "<em>"):
        assert tag not in page
    for code in page.split("<code>")[1:]:
        assert "rm -rf" not in code.split("</code>")[0]
    assert "\u202e" not in page


@pytest.mark.parametrize("text", ["@org", "#12", "GH-3", "https://example.com", "www.example.com"])
def test_what_github_makes_a_link_of_is_broken_by_a_character_without_width(text: str) -> None:
    """Entities alone do not help: GitHub looks for mentions after it has decoded them."""
    page = rendered(escape(f"see {text} there"))
    assert text not in page
    assert text in page.replace("\u200b", "")


def test_text_survives_escaping_letter_by_letter() -> None:
    page = rendered(escape("a_b *c* `d` [e](f) <g> &amp; h|i ~~j~~ \\k $l$ !m ^n"))
    plain = page.removeprefix("<p>").removesuffix("</p>\n")
    assert plain == "a_b *c* `d` [e](f) &lt;g&gt; &amp;amp; h|i ~~j~~ \\k $l$ !m ^n"


def test_a_row_of_a_table_keeps_its_cells() -> None:
    new = version(8, parameters={"a|b": "1 | 2 \\| 3"})
    tokens: list[Token] = MarkdownIt("gfm-like", {"linkify": False}).parse(
        markdown([judged(release(7, 8), facts(champion(7), new))])
    )
    opened = [place for place, token in enumerate(tokens) if token.type == "td_open"]
    cells = [tokens[place + 1].children or [] for place in opened]
    assert "".join(token.content for token in cells[-3]) == "a|b"
    assert ["".join(token.content for token in cell) for cell in cells[-2:]] == ["none", "1 | 2 \\| 3"]


@pytest.mark.parametrize("secret", SECRETS)
def test_what_looks_like_a_credential_is_hidden(secret: str) -> None:
    assert redact(f"before {secret} after") == f"before {HIDDEN} after"
    for text in (f"password={secret}", f"API_KEY: {secret}", f"https://user:{secret[:8]}@example.com/x"):
        assert secret[:8] not in redact(text).replace("-----BEG", "")


def test_a_token_in_a_header_is_hidden_and_words_after_bearer_are_not() -> None:
    assert redact("refused: Authorization: Bearer k8s.a-token~1234") == f"refused: Authorization: Bearer {HIDDEN}"
    assert redact("Bearer authentication failed") == "Bearer authentication failed"


def test_a_parameter_is_hidden_by_its_name() -> None:
    told = {"db_password": "x", "api_key": "x", "n_estimators": "100", "max_tokens_kept": "5", "keyword": "x"}
    assert redact_values(told) == told | {"db_password": HIDDEN, "api_key": HIDDEN}


@pytest.mark.parametrize(
    "text",
    [
        "sha256:" + "ab12" * 16,
        "3f2a9c1" + "0" * 33,
        "models:/m-0123456789abcdef0123456789abcdef",
        "s3://mlops-artifacts/datasets/churn/2026/11/30/part-0001.parquet",
        "n_estimators=100, max_depth=5 on 7,043 rows",
        "lab.local/training@sha256:" + "0a" * 32,
    ],
)
def test_digests_and_addresses_are_not_taken_for_credentials(text: str) -> None:
    assert redact(text) == text


def test_a_credential_in_a_description_reaches_no_comment() -> None:
    new = version(8, description=f"key {SECRETS[0]}", parameters={"x": SECRETS[1]}, author=SECRETS[2])
    text = markdown([judged(release(7, 8), facts(champion(7), new))])
    assert not [secret for secret in SECRETS if secret in text]


def test_json_holds_the_verdict_and_the_difference_and_is_strict() -> None:
    found = judged(release(7, 8), facts(champion(7), refused(8, "roc_auc fell")))
    told = json.loads(found.model_dump_json(), parse_constant=pytest.fail)
    assert told["verdict"]["kind"] == "refused"
    assert told["verdict"]["reasons"][0]["mend"] == "mlops train churn-predictor"
    assert told["diff"]["new"]["number"] == 8
    assert Preview.model_validate(told) == found


def test_several_endpoints_have_their_verdicts_first() -> None:
    other = preview(release(7, 8), Unverified(why="MLflow sleeps"), UNPROTECTED, IMAGE)
    lines = markdown([good(), other]).splitlines()
    assert [line.split("**")[1] for line in lines[:2]] == [
        "churn: version 7 -&#62; 8 passes",
        "churn: version 7 -&#62; 8 could not be verified because MLflow sleeps",
    ]
    assert sum(line.startswith("### ") for line in lines) == 2


def test_a_run_with_thousands_of_long_parameters_leaves_a_short_comment() -> None:
    many = {f"parameter_{number}": "long " * 1000 for number in range(5000)}
    found = judged(release(7, 8), facts(champion(7), version(8, parameters=many, description="long " * 1000)))
    assert "30 of 5000 rows are listed" in markdown([found])
    assert len(markdown([found])) < 10_000


@pytest.mark.parametrize("change", [release(7, None), release(None, 8), release(7, 9)])
def test_a_new_a_removed_and_an_unknown_version_have_a_view(change: Change) -> None:
    found = judged(change, facts(champion(7), version(8)), PROTECTED)
    assert found.verdict.line.split(" ")[0] == "churn:"
    assert "churn:" in shown(found)
    assert "churn:" in markdown([found])
