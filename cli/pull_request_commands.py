"""Commands about releases and pull requests: comment, release, propose. Each imports what it needs when it runs."""

import re
from typing import Annotated, Literal

import typer

from cli.errors import CommandError
from cli.options import Context, DryRun, Endpoint, Json, Model, Stack, TrackingUri

Previous = Annotated[
    bool, typer.Option("--previous", help="Take the last version that differs, from the git history of the stack file.")
]
OutcomeName = Literal["passes", "refused", "unverified"]


def _commit(text: str) -> str:
    if not re.fullmatch("[0-9a-f]{40}", text.lower()):
        raise typer.BadParameter(f"{text} is not a commit; write its full SHA of 40 hexadecimal digits")
    return text.lower()


def comment(
    *,
    stack: Annotated[str, typer.Option(metavar="NAME", help="Stack of the report.", show_default=False)],
    pull_request: Annotated[
        int, typer.Option(metavar="NUMBER", min=1, help="Number of the pull request.", show_default=False)
    ],
    file: Annotated[str, typer.Option(metavar="FILE", help="Report in Markdown; - is stdin.", show_default=False)],
    outcome: Annotated[
        OutcomeName,
        typer.Option(help="Result of the preview: the commit status is success, failure or error.", show_default=False),
    ],
    commit: Annotated[
        str | None,
        typer.Option(
            metavar="SHA",
            parser=_commit,
            help="Commit of the report. Default: the pull request's in GITHUB_EVENT_PATH, else GITHUB_SHA, else HEAD.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Comment on a pull request, and set the commit status.

    There is one comment for each stack. It is updated in place, and a run never replaces the report of a later run
    (GITHUB_RUN_NUMBER). A report that is too long for GitHub is cut at its end. The command reads GITHUB_TOKEN,
    GITHUB_REPOSITORY and, for GitHub Enterprise, GITHUB_API_URL. The token needs the permissions `pull-requests: write`
    and `statuses: write`.
    """
    from cli import comment as comments

    comments.comment(stack, pull_request, file, outcome, commit=commit)


def release(
    endpoint: Endpoint,
    version: Annotated[
        int | None, typer.Argument(metavar="VERSION", help="Number of the new version.", min=1, show_default=False)
    ] = None,
    *,
    stack: Stack = None,
    previous: Previous = False,
    digest: Annotated[
        str | None,
        typer.Option(
            metavar="SHA256",
            help="Digest of the version's files, written below the version. Default: the tag model_digest in MLflow if "
            "the entry has a digest or mlops:gate requires one, otherwise none.",
            show_default=False,
        ),
    ] = None,
    tracking_uri: TrackingUri = None,
    steps: Annotated[
        str | None,
        typer.Option(
            metavar="PERCENTS",
            help="Release gradually: shares of the callers, such as 1,10,50,100. Each step changes the stack file and "
            "runs `pulumi up`.",
            show_default=False,
        ),
    ] = None,
    hold: Annotated[
        str, typer.Option(metavar="TIME", help="With --steps: time for which each share is watched, as in 90s or 1h.")
    ] = "10m",
    key: Annotated[
        str | None,
        typer.Option(
            metavar="HEADER",
            help="With --steps: request header by which callers are split. Default: that of the challenger, if the "
            "stack file has it already.",
            show_default=False,
        ),
    ] = None,
    experiment: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="With --steps: name of the experiment. Default: release-OLD-NEW, with both versions.",
            show_default=False,
        ),
    ] = None,
    max_errors: Annotated[
        float,
        typer.Option(
            min=0,
            max=100,
            metavar="POINTS",
            help="With --steps: how many percentage points more than the champion's requests the challenger's may "
            "fail, for 5xx and 4xx responses each.",
        ),
    ] = 1,
    max_p95: Annotated[
        float | None,
        typer.Option(
            min=0.001,
            metavar="MS",
            help="With --steps: largest 95th percentile of the challenger's response times. Default: "
            "objectives.p95_ms of the endpoint, or else twice the champion's.",
            show_default=False,
        ),
    ] = None,
    least: Annotated[
        int,
        typer.Option(
            min=1,
            metavar="NUMBER",
            help="With --steps: number of the challenger's requests without which a share is not judged.",
        ),
    ] = 100,
    prometheus: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            help="With --steps: Prometheus that counts the requests. Default: that of mlops:monitoring with kind "
            "cluster, or else the pods themselves.",
            show_default=False,
        ),
    ] = None,
    context: Context = None,
    pull_request: Annotated[
        bool,
        typer.Option(
            "--pr",
            help="With --steps: watch the share in the default branch, and open a pull request of the next step, as "
            "`mlops propose` does, instead of making it. Each call makes one.",
        ),
    ] = False,
    json: Json = False,
    dry_run: DryRun = False,
) -> None:
    """Change the version of an endpoint in the stack file, at once or in steps.

    Without --steps, the command changes the number in this checkout, and removes the challenger if it has this version.
    Nothing else in the file changes. `pulumi preview` then says whether the version may go live. With --previous, the
    git history of the file names the version that it had before.

    With --steps, the version becomes the endpoint's challenger, gets one share of the callers after the other, and
    is the served version at 100. At each share, it is compared with the served version. If it fails more requests, is
    slower or cannot be reached, the command restores the share before, and exits with 3. If the command was stopped,
    run it again: it goes on from the share in the stack file.
    """
    if (version is None) != previous:
        raise CommandError("write either the number of the new version, or --previous")
    if steps is not None:
        from cli import gradual
        from cli import hold as holds
        from experiments.guardrails import Limits

        if version is None:
            raise CommandError("--previous is an immediate rollback; write it without --steps, or write the version")
        gradual.run(
            endpoint,
            version,
            stack,
            gradual.Options(
                steps=gradual.steps(steps),
                hold=holds.duration(hold),
                key=key,
                experiment=experiment,
                digest=digest,
                limits=Limits(errors=max_errors / 100, p95_seconds=max_p95 and max_p95 / 1000, least=least),
                prometheus=prometheus,
                context=context,
                tracking_uri=tracking_uri,
                pull_request=pull_request,
                dry_run=dry_run,
                json=json,
            ),
        )
        return
    if key or experiment or max_p95 or prometheus or pull_request or json:
        raise CommandError(
            "--key, --experiment, --max-p95, --prometheus, --pr and --json belong to --steps; write it too"
        )
    from cli import release as releases

    releases.release(endpoint, version, stack, digest=digest, tracking_uri=tracking_uri, dry_run=dry_run)


def propose(
    model: Model,
    version: Annotated[
        int | None,
        typer.Argument(
            metavar="VERSION", help="Number of the version, in the MLflow that has it now.", min=1, show_default=False
        ),
    ] = None,
    *,
    stack: Annotated[str, typer.Option(metavar="NAME", help="Pulumi stack.", show_default=False)],
    endpoint: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="Endpoint to change. Default: the one that serves the model.", show_default=False
        ),
    ] = None,
    tagged: Annotated[
        bool, typer.Option("--tagged", help="Take the newest version with the tag `proposed` in MLflow.")
    ] = False,
    previous: Previous = False,
    copy_from: Annotated[
        str | None,
        typer.Option(
            metavar="URI",
            help="Copy the version from this MLflow to the stack's first, and propose the copy.",
            show_default=False,
        ),
    ] = None,
    tracking_uri: TrackingUri = None,
    dry_run: DryRun = False,
) -> None:
    """Open or update the pull request of a release.

    It changes the version of a model's endpoint in the stack file of the default branch, and has the model report as
    its text. There is one for each stack and endpoint, on the branch mlops/release-STACK-ENDPOINT. A version whose pull
    request was closed without a merge is not proposed again. The command reads GITHUB_TOKEN, GITHUB_REPOSITORY and, for
    GitHub Enterprise, GITHUB_API_URL. The token needs the permissions `contents: write` and `pull-requests: write`; use
    the token of a GitHub App, because pull requests of the token of GitHub Actions start no checks.
    """
    from cli import proposal

    if previous and copy_from:
        raise CommandError("--previous is a version that the stack had before; write it without --copy-from")
    proposal.run(
        model,
        proposal.choice(version, tagged=tagged, previous=previous),
        stack=stack,
        endpoint=endpoint,
        copy_from=copy_from,
        tracking_uri=tracking_uri,
        dry_run=dry_run,
    )
