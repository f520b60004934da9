"""Client of GitHub's REST API for one repository. It waits when GitHub asks for it, with a limit on the whole time."""

import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Self, TypeVar
from urllib.parse import urlsplit

import httpx
from pydantic import BaseModel, Field, TypeAdapter, ValidationError

from contract.exit_codes import ExitCode
from model_preview.redact import plain
from pull_requests.errors import AgainError, GitHubError

PUBLIC_API = "https://api.github.com"
VERSION = "2022-11-28"
"""Version of the REST API."""
PATIENCE = 300.0
"""Longest time in seconds that a command waits for GitHub, all waits together."""
SECONDARY = 60.0
"""Seconds to wait after a secondary rate limit that names no time, as GitHub's documentation asks for."""
TIMEOUT = 30.0
"""Timeout in seconds of one request."""
TRIES = 6
"""Largest number of tries while GitHub does not respond, or responds with an error of its own: about 30 seconds."""
PAGE = 100
MOST_PAGES = 300
"""Largest number of pages that are read of one list."""
VIEWER = "query { viewer { databaseId } }"
Answer = TypeVar("Answer")
Body = Mapping[str, object]
_NAME = re.compile(r"[A-Za-z0-9_.-]+/[A-Za-z0-9_.-]+")
_TOKEN = re.compile(r"[\x21-\x7e]+")


@dataclass(frozen=True, kw_only=True)
class Repository:
    """Repository on GitHub, and the token that is used for it."""

    name: str
    """Owner and name, as in `octocat/hello-world`."""
    token: str = field(repr=False)
    api: str = PUBLIC_API
    """Address of the REST API; that of GitHub Enterprise Server ends with /api/v3."""
    graphql: str = f"{PUBLIC_API}/graphql"
    """Address of the GraphQL API."""

    @property
    def owner(self) -> str:
        """User or organization that owns the repository."""
        return self.name.partition("/")[0]

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Self:
        """Return the repository that GITHUB_REPOSITORY, GITHUB_TOKEN and GITHUB_API_URL name.

        Raises:
            GitHubError: a variable is missing or wrong.
        """
        name, token = environment.get("GITHUB_REPOSITORY", ""), environment.get("GITHUB_TOKEN", "").strip()
        api = environment.get("GITHUB_API_URL", "").rstrip("/") or PUBLIC_API
        if not _NAME.fullmatch(name):
            raise GitHubError(f"GITHUB_REPOSITORY is {name!r}; set it to the repository, as in owner/name")
        if not _TOKEN.fullmatch(token):
            fault = "is not set" if not token else "has characters that no token has"
            raise GitHubError(f"GITHUB_TOKEN {fault}; set it to a token that may write to {name}")
        with suppress(ValueError):
            if urlsplit(api).scheme in {"http", "https"} and urlsplit(api).hostname:
                graphql = environment.get("GITHUB_GRAPHQL_URL") or f"{api.removesuffix('/v3')}/graphql"
                return cls(name=name, token=token, api=api, graphql=graphql)
        raise GitHubError(f"GITHUB_API_URL {api!r} is not a URL; write it as in https://HOST/api/v3")


class Nothing(BaseModel):
    """Content of a response that the caller does not read."""


class _Viewer(BaseModel):
    id: int = Field(alias="databaseId")


class _ViewerData(BaseModel):
    viewer: _Viewer


class _ViewerAnswer(BaseModel):
    data: _ViewerData | None = None
    errors: Sequence[Mapping[str, object]] = ()


class _Problem(BaseModel):
    message: str = ""
    errors: Sequence[str | Mapping[str, object]] = ()


class GitHub:
    """Connection to one repository. Use it as a context manager.

    Args:
        repository: repository and token.
        tell: receives a sentence before each wait.
        wait: waits for a number of seconds; None: `time.sleep`.
    """

    def __init__(
        self,
        repository: Repository,
        *,
        tell: Callable[[str], None],
        wait: Callable[[float], None] | None = None,
    ) -> None:
        self.repository = repository
        self._tell = tell
        self._wait = wait or time.sleep
        self._patience = PATIENCE
        self._failed_writes = 0
        headers = {
            "Accept": "application/vnd.github+json",
            "Authorization": f"Bearer {repository.token}",
            "User-Agent": "mlops-platform",
            "X-GitHub-Api-Version": VERSION,
        }
        self._http = httpx.Client(headers=headers, timeout=TIMEOUT)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def get(self, path: str, answer: type[Answer], what: str, **query: str | int) -> Answer:
        """Return what GitHub has at the path.

        Args:
            path: path below /repos/OWNER/NAME, such as `/pulls`.
            answer: type of the response's content.
            what: words for a message, such as `read pull request 12`.
            query: query parameters.

        Raises:
            GitHubError: GitHub refused the request or did not respond; `status` says which.
        """
        return _decoded(self._request("GET", self._url(path), what, params=query), answer)

    def pages(self, path: str, entry: type[Answer], what: str, **query: str | int) -> Iterator[Answer]:
        """Yield the entries of a list on all of its pages."""
        for page in range(1, MOST_PAGES + 1):
            response = self._request("GET", self._url(path), what, params={**query, "per_page": PAGE, "page": page})
            yield from _decoded(response, list[entry])
            if "next" not in response.links:
                return

    def send(self, method: str, path: str, answer: type[Answer], what: str, body: Body) -> Answer:
        """Send a write that may be repeated, and return GitHub's response."""
        return _decoded(self._request(method, self._url(path), what, body=body), answer)

    def send_once(self, method: str, path: str, answer: type[Answer], what: str, body: Body | None = None) -> Answer:
        """Send a write that must not be repeated without a look at the present state.

        Raises:
            AgainError: GitHub was busy; read the state again, and decide again.
            GitHubError: GitHub refused the request or did not respond.
        """
        return _decoded(self._request(method, self._url(path), what, body=body, once=True), answer)

    def author(self) -> int:
        """Return the ID of the user or app that comments with this token have as their author.

        The REST endpoint /user refuses tokens of apps, so this is the only request of the GraphQL API.
        """
        what = "read who the token belongs to"
        response = self._request("POST", self.repository.graphql, what, body={"query": VIEWER})
        answer = _decoded(response, _ViewerAnswer)
        if answer.data is None:
            said = plain(str(answer.errors[0].get("message", ""))) if answer.errors else "nothing"
            raise GitHubError(
                f"could not {what}: GitHub responded {said[:200]}; run the command again", ExitCode.FAILED
            )
        return answer.data.viewer.id

    def _url(self, path: str) -> str:
        return f"{self.repository.api}/repos/{self.repository.name}{path}"

    def _request(
        self,
        method: str,
        url: str,
        what: str,
        *,
        body: Body | None = None,
        params: Mapping[str, str | int] | None = None,
        once: bool = False,
    ) -> httpx.Response:
        tries = self._failed_writes if once else 0
        while True:
            try:
                response = self._http.request(method, url, json=body, params=params)
            except httpx.TransportError as error:
                why, seconds, limited = plain(str(error)) or type(error).__name__, 2.0**tries, False
                problem = GitHubError(f"could not {what}: GitHub at {url} does not respond: {why}", ExitCode.FAILED)
            else:
                if response.is_success:
                    self._failed_writes = 0 if once else self._failed_writes
                    return response
                problem = self._problem(response, what)
                pause = _pause(response, tries)
                if pause is None:
                    raise problem
                seconds, why, limited = pause, f"HTTP {response.status_code} {_said(response)}", _is_limit(response)
            if seconds > self._patience or (tries + 1 >= TRIES and not limited):
                raise problem
            self._tell(f"waiting {seconds:.0f} s for GitHub to {what}: {why}")
            self._patience -= max(seconds, 1.0)
            self._wait(seconds)
            tries += 1
            if once:
                self._failed_writes = tries
                raise AgainError

    def _problem(self, response: httpx.Response, what: str) -> GitHubError:
        """Return the error for a response, with what to do about it."""
        status, name = response.status_code, self.repository.name
        refused = f"could not {what}: GitHub responded {status} {_said(response)}"
        if until := _limited_until(response):
            waits = f"this command waits at most {PATIENCE:.0f} s"
            advice = f"the rate limit ends at {until:%H:%M:%S} UTC, and {waits}; run it again then"
            return GitHubError(f"{refused}; {advice}", ExitCode.FAILED, status)
        if _is_limit(response) or response.is_server_error:
            return GitHubError(f"{refused}; run the command again later", ExitCode.FAILED, status)
        advice = {
            301: f"{name} was renamed or moved; set GITHUB_REPOSITORY to its present name",
            307: f"{name} was renamed or moved; set GITHUB_REPOSITORY to its present name",
            401: "the token is wrong or has expired; set GITHUB_TOKEN to a valid one",
            403: f"give the token the right that it lacks on {name}{_permission(response)}",
            404: f"it does not exist in {name}, or the token may not see it; check GITHUB_REPOSITORY and the "
            "token's rights",
        }.get(status, "check what you wrote")
        return GitHubError(f"{refused}; {advice}", ExitCode.BAD_INPUT, status)


def _pause(response: httpx.Response, tries: int) -> float | None:
    """Return the seconds to wait before another try; None if another try would fail in the same way."""
    if not (_is_limit(response) or response.is_server_error):
        return None
    now = _now(response)
    if (named := _retry_after(response)) is not None:
        return max(0.0, named)
    if until := _limited_until(response):
        return max(0.0, (until - now).total_seconds()) + 1
    return SECONDARY * 2**tries if _is_limit(response) else 2.0**tries


def _is_limit(response: httpx.Response) -> bool:
    """Return whether the response is about a rate limit. GitHub uses 429 and 403, and 403 also for missing rights."""
    if response.status_code == httpx.codes.TOO_MANY_REQUESTS.value:
        return True
    return response.status_code == httpx.codes.FORBIDDEN.value and (
        "retry-after" in response.headers
        or response.headers.get("x-ratelimit-remaining") == "0"
        or "rate limit" in _said(response).lower()
    )


def _limited_until(response: httpx.Response) -> datetime | None:
    """Return the time at which the rate limit ends, if it is used up."""
    if not _is_limit(response) or response.headers.get("x-ratelimit-remaining") != "0":
        return None
    with suppress(ValueError, OverflowError, OSError):
        return datetime.fromtimestamp(int(response.headers.get("x-ratelimit-reset", "")), UTC)
    return None


def _retry_after(response: httpx.Response) -> float | None:
    """Return the seconds in the header Retry-After, which has a number or a date."""
    value = response.headers.get("retry-after", "")
    with suppress(ValueError):
        return float(int(value))
    with suppress(ValueError, TypeError):
        return (parsedate_to_datetime(value) - _now(response)).total_seconds()
    return None


def _now(response: httpx.Response) -> datetime:
    """Return GitHub's present time, because the clock of this machine may differ."""
    with suppress(ValueError, TypeError, KeyError):
        found = parsedate_to_datetime(response.headers["date"])
        return found if found.tzinfo else found.replace(tzinfo=UTC)
    return datetime.now(UTC)


def _permission(response: httpx.Response) -> str:
    needed = plain(response.headers.get("x-accepted-github-permissions", ""))[:100]
    return f" ({needed})" if needed else ""


def _said(response: httpx.Response) -> str:
    """Return GitHub's message and its first error on one line."""
    try:
        content = _Problem.model_validate_json(response.content)
    except ValidationError:
        return response.reason_phrase
    first = content.errors[0] if content.errors else ""
    detail = first if isinstance(first, str) else first.get("message") or " ".join(map(str, first.values()))
    return plain(": ".join(filter(None, [content.message, str(detail)])))[:200] or response.reason_phrase


def _decoded(response: httpx.Response, answer: type[Answer]) -> Answer:
    try:
        return TypeAdapter(answer).validate_json(response.content or b"{}")
    except ValidationError as error:
        where = f"{response.request.url.scheme}://{response.request.url.netloc.decode()}"
        why = plain(f"{'.'.join(map(str, error.errors()[0]['loc']))} {error.errors()[0]['msg']}")[:200]
        raise GitHubError(f"{where} did not respond as GitHub's API does ({why}); check GITHUB_API_URL") from error
