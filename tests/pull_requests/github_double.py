"""A GitHub on this machine. It checks each request and each of its responses against GitHub's own API description.

Branches and commits are those of a real bare git repository; comments, statuses and pull requests are in memory.
"""

import base64
import json
import re
import subprocess
import threading
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Protocol, cast
from urllib.parse import parse_qs, unquote, urlsplit

from jsonschema import Draft202012Validator, ValidationError

from tests.pull_requests.description import FILE

Json = dict[str, Any]
DESCRIPTION: Json = json.loads(FILE.read_text())
UNDOCUMENTED = {401, 403, 404, 429, 500, 502, 503}
"""Statuses that GitHub may send for every operation, with a plain message."""
NAME = "octo-org/platform"
LONGEST = 65_536
WRITES = {
    "issues/create-comment": "pull_requests",
    "issues/update-comment": "pull_requests",
    "issues/delete-comment": "pull_requests",
    "repos/create-commit-status": "statuses",
    "git/create-tree": "contents",
    "git/create-commit": "contents",
    "git/create-ref": "contents",
    "git/update-ref": "contents",
    "pulls/create": "pull_requests",
    "pulls/update": "pull_requests",
}
"""Right that each write needs."""


@dataclass(frozen=True)
class Identity:
    """Owner of a token."""

    id: int
    login: str
    kind: str = "Bot"
    rights: frozenset[str] = frozenset({"contents", "pull_requests", "statuses"})


APP = Identity(101, "mlops-release[bot]")
ACTIONS = Identity(41898282, "github-actions[bot]")
ADA = Identity(7, "ada", "User")
READER = Identity(8, "reader", "User", frozenset())


@dataclass(frozen=True)
class Request:
    """One request, as the double understood it."""

    operation: str
    path: Mapping[str, str]
    query: Mapping[str, str]
    body: Json
    by: Identity


@dataclass(frozen=True)
class Response:
    """One response; `content` None has no body."""

    status: int
    content: Any = None
    headers: Mapping[str, str] = field(default_factory=dict[str, str])


class RefusedError(Exception):
    """GitHub refuses the request with this status."""

    def __init__(self, status: int, message: str, *errors: Json) -> None:
        super().__init__(message)
        self.response = Response(
            status,
            {"message": message, "documentation_url": "https://docs.github.com/rest", "status": str(status)}
            | ({"errors": list(errors)} if errors else {}),
        )


class GitHub:
    """State of one repository on GitHub. Tests read it, and change what the next responses are."""

    def __init__(self, folder: Path) -> None:
        self.git_folder = folder
        self.address = ""
        self.name = NAME
        self.tokens = {"ghs_app": APP, "ghs_actions": ACTIONS, "ghp_ada": ADA, "ghp_reader": READER}
        self.comments: list[Json] = []
        self.statuses: list[Json] = []
        self.pulls: list[Json] = []
        self.asked: list[str] = []
        """Operations that were asked for, in order."""
        self.violations: list[str] = []
        """Requests and responses that differ from GitHub's description."""
        self.before: Callable[[Request], Response | None] = lambda _: None
        """Called before each request, outside of the lock; its response replaces the real one."""
        self.after: Callable[[Request], None] = lambda _: None
        """Called after each request was carried out and before its response is sent."""
        self._lock = threading.Lock()
        self._number = 1000
        self.git("init", "--quiet", "--bare", "--initial-branch", "main", str(folder))

    def git(self, *words: str, text: str = "") -> str:
        """Run git in the repository, and return what it prints."""
        who = ["-c", "user.name=octo", "-c", "user.email=octo@example.com"]
        done = subprocess.run(
            ["git", "-C", str(self.git_folder.parent if "init" in words else self.git_folder), *who, *words],
            input=text.encode(),
            check=True,
            capture_output=True,
        )
        return done.stdout.decode().strip()

    def commit(self, branch: str, files: Mapping[str, str], message: str = "change") -> str:
        """Commit the files to the branch, on top of what it has, and return the commit."""
        parent = self.tip(branch)
        tree = self.tree(f"{parent}^{{tree}}" if parent else None, files)
        made = self.git("commit-tree", tree, *(["-p", parent] if parent else []), "-m", message)
        self.git("update-ref", f"refs/heads/{branch}", made)
        return made

    def tree(self, base: str | None, files: Mapping[str, str]) -> str:
        """Return the tree with the files replaced."""
        lines = self.git("ls-tree", base).splitlines() if base else []
        entries = {path: about for about, _, path in (line.partition("\t") for line in lines)}
        for path, content in files.items():
            blob = self.git("hash-object", "-w", "--stdin", text=content)
            entries[path] = f"100644 blob {blob}"
        return self.git("mktree", text="".join(f"{about}\t{path}\n" for path, about in entries.items()))

    def tip(self, branch: str) -> str:
        """Return the commit of a branch; an empty text if there is no such branch."""
        return self.git("for-each-ref", "--format=%(objectname)", f"refs/heads/{branch}")

    def comment(self, number: int, body: str, by: Identity = ADA) -> Json:
        """Add a comment of a user."""
        self._number += 1
        added = deepcopy(_example("issues/create-comment", 201)) | {
            "id": self._number,
            "body": body,
            "user": _user(by),
            "html_url": f"https://github.com/{NAME}/pull/{number}#issuecomment-{self._number}",
            "issue_url": f"{self.address}/repos/{NAME}/issues/{number}",
        }
        self.comments.append(added)
        return added

    def of(self, number: int, by: Identity = APP) -> list[str]:
        """Return the texts of a user's comments on a pull request, the oldest first."""
        return [one["body"] for one in self.comments if _of(one, number) and one["user"] and one["user"]["id"] == by.id]

    def answer(self, request: Request) -> Response:
        """Carry out a request."""
        if request.operation == "graphql":
            return Response(200, {"data": {"viewer": {"databaseId": request.by.id}}})
        needed = WRITES.get(request.operation)
        if needed and needed not in request.by.rights:
            refused = RefusedError(403, "Resource not accessible by integration").response
            return Response(403, refused.content, {"x-accepted-github-permissions": f"{needed}=write"})
        if f"{request.path['owner']}/{request.path['repo']}" != self.name:
            raise RefusedError(404, "Not Found")
        handler: Callable[[Request], Response] = getattr(self, "_" + re.sub(r"\W", "_", request.operation))
        return handler(request)

    def _repos_get(self, _: Request) -> Response:
        example = _example("repos/get", 200)
        found = {key: value for key, value in example.items() if key not in {"parent", "source", "template_repository"}}
        return Response(200, found | {"full_name": NAME, "default_branch": "main", "language": None})

    def _issues_list_comments(self, request: Request) -> Response:
        found = [one for one in self.comments if _of(one, int(request.path["issue_number"]))]
        size, page = int(request.query.get("per_page", 30)), int(request.query.get("page", 1))
        url = f"{self.address}/repositories/1/issues/{request.path['issue_number']}/comments?per_page={size}&page="
        links = {"Link": f'<{url}{page + 1}>; rel="next", <{url}1>; rel="first"'} if len(found) > page * size else {}
        return Response(200, found[(page - 1) * size : page * size], links)

    def _issues_create_comment(self, request: Request) -> Response:
        _check_length(request.body["body"], "IssueComment")
        return Response(201, self.comment(int(request.path["issue_number"]), request.body["body"], request.by))

    def _issues_update_comment(self, request: Request) -> Response:
        _check_length(request.body["body"], "IssueComment")
        found = self._comment(request)
        found["body"] = request.body["body"]
        return Response(200, found)

    def _issues_delete_comment(self, request: Request) -> Response:
        self.comments.remove(self._comment(request))
        return Response(204)

    def _comment(self, request: Request) -> Json:
        for one in self.comments:
            if one["id"] == int(request.path["comment_id"]):
                return one
        raise RefusedError(404, "Not Found")

    def _repos_create_commit_status(self, request: Request) -> Response:
        if not re.fullmatch("[0-9a-f]{40}", request.path["sha"]):
            raise RefusedError(422, f"No commit found for SHA: {request.path['sha']}")
        if len(request.body["description"]) > 140:
            raise RefusedError(
                422, "Validation Failed", {"message": "description is too long (maximum is 140 characters)"}
            )
        made = {**request.body, "sha": request.path["sha"]}
        self.statuses.append(made)
        return Response(201, _example("repos/create-commit-status", 201) | request.body)

    def _git_get_ref(self, request: Request) -> Response:
        tip = self.tip(request.path["ref"].removeprefix("heads/"))
        if not tip:
            raise RefusedError(404, "Not Found")
        return self._reference(200, request.path["ref"], tip)

    def _git_create_ref(self, request: Request) -> Response:
        branch = request.body["ref"].removeprefix("refs/heads/")
        if self.tip(branch):
            raise RefusedError(422, "Reference already exists")
        self.git("update-ref", f"refs/heads/{branch}", request.body["sha"])
        return self._reference(201, f"heads/{branch}", request.body["sha"])

    def _git_update_ref(self, request: Request) -> Response:
        branch = request.path["ref"].removeprefix("heads/")
        if not self.tip(branch):
            raise RefusedError(422, "Reference does not exist")
        ancestor = subprocess.run(
            ["git", "-C", str(self.git_folder), "merge-base", "--is-ancestor", self.tip(branch), request.body["sha"]],
            check=False,
        )
        if ancestor.returncode and not request.body.get("force"):
            raise RefusedError(422, "Update is not a fast forward")
        self.git("update-ref", f"refs/heads/{branch}", request.body["sha"])
        self._close_empty()
        return self._reference(200, f"heads/{branch}", request.body["sha"])

    def _reference(self, status: int, ref: str, sha: str) -> Response:
        found = deepcopy(_example("git/get-ref", 200)) | {"ref": f"refs/{ref}"}
        found["object"]["sha"] = sha
        return Response(status, found)

    def _git_get_commit(self, request: Request) -> Response:
        return Response(200, self._described(request.path["commit_sha"]))

    def _described(self, sha: str) -> Json:
        tree, parents, message = self.git("show", "--no-patch", "--format=%T%n%P%n%B", sha).split("\n", 2)
        found = deepcopy(_example("git/get-commit", 200)) | {"sha": sha, "message": message.strip()}
        found["tree"]["sha"] = tree
        links = {"url": found["url"], "html_url": found["html_url"]}
        found["parents"] = [{"sha": parent, **links} for parent in parents.split()]
        return found

    def _git_create_tree(self, request: Request) -> Response:
        base = request.body["base_tree"]
        if self.git("cat-file", "-t", base) != "tree":
            raise RefusedError(422, "base_tree is not a tree")
        made = self.tree(base, {one["path"]: one["content"] for one in request.body["tree"]})
        return Response(201, _example("git/create-tree", 201) | {"sha": made})

    def _git_create_commit(self, request: Request) -> Response:
        parents = [word for parent in request.body["parents"] for word in ("-p", parent)]
        made = self.git("commit-tree", request.body["tree"], *parents, "-m", request.body["message"])
        return Response(201, self._described(made))

    def _repos_get_content(self, request: Request) -> Response:
        path, ref = request.path["path"], request.query.get("ref", "main")
        found = subprocess.run(
            ["git", "-C", str(self.git_folder), "show", f"{ref}:{path}"], check=False, capture_output=True
        )
        if found.returncode:
            raise RefusedError(404, "Not Found")
        content = base64.encodebytes(found.stdout).decode()
        about = {"content": content, "encoding": "base64", "path": path, "name": path, "size": len(found.stdout)}
        return Response(200, _example("repos/get-content", 200) | about)

    def _pulls_list(self, request: Request) -> Response:
        head, base, state = (
            request.query.get(key, other) for key, other in (("head", ""), ("base", ""), ("state", "open"))
        )
        newest_first = reversed(self.pulls)
        of_the_head = (
            one for one in newest_first if head in {"", one["head"]["label"]} and base in {"", one["base"]["ref"]}
        )
        found = [one for one in of_the_head if state in {"all", one["state"]}]
        (example,) = _example("pulls/list", 200)
        return Response(200, [{key: value for key, value in one.items() if key in example} for one in found])

    def _pulls_create(self, request: Request) -> Response:
        head, base = request.body["head"], request.body["base"]
        label = f"{NAME.partition('/')[0]}:{head}"
        if any(one["head"]["label"] == label and one["state"] == "open" for one in self.pulls):
            raise RefusedError(
                422,
                "Validation Failed",
                {"resource": "PullRequest", "code": "custom", "message": f"A pull request already exists for {label}."},
            )
        if not self.git("rev-list", f"{base}..{head}"):
            raise RefusedError(422, "Validation Failed", {"message": f"No commits between {base} and {head}"})
        _check_length(request.body["body"], "PullRequest")
        number = len(self.pulls) + 12
        made = deepcopy(_example("pulls/create", 201)) | {
            "number": number, "title": request.body["title"], "body": request.body["body"], "state": "open",
            "merged_at": None, "requested_teams": [], "user": _user(request.by), "html_url": f"https://github.com/{NAME}/pull/{number}",
        }  # fmt: skip
        made["head"] |= {"ref": head, "label": label}
        made["base"] |= {"ref": base}
        self.pulls.append(made)
        return Response(201, made)

    def _pulls_update(self, request: Request) -> Response:
        (found,) = (one for one in self.pulls if one["number"] == int(request.path["pull_number"]))
        _check_length(request.body.get("body", ""), "PullRequest")
        found |= request.body
        return Response(200, found)

    def _close_empty(self) -> None:
        """Close each pull request whose branch has nothing that its base lacks, as GitHub does."""
        for one in self.pulls:
            if not self.git("rev-list", f"{one['base']['ref']}..{one['head']['ref']}"):
                one["state"] = "closed"

    def handle(self, method: str, target: str, headers: Mapping[str, str], content: bytes) -> Response:
        """Check one request, carry it out, and check the response."""
        request = self._understood(method, target, headers, content)
        if isinstance(request, Response):
            return request
        self.asked.append(request.operation)
        response = self.before(request)
        if response is None:
            with self._lock:
                try:
                    response = self.answer(request)
                except RefusedError as refused:
                    response = refused.response
            self.after(request)
        if request.operation != "graphql":
            self._check_response(request, response)
        return response

    def _understood(self, method: str, target: str, headers: Mapping[str, str], content: bytes) -> Request | Response:
        by = self.tokens.get(headers.get("authorization", "").removeprefix("Bearer "))
        if by is None:
            return RefusedError(401, "Bad credentials").response
        if not headers.get("user-agent") or headers.get("x-github-api-version") != "2022-11-28":
            return self._violation(f"{method} {target}: a header is missing")
        root = urlsplit(self.address).path
        body: Json = json.loads(content) if content else {}
        if target == f"{root.removesuffix('/v3')}/graphql" and method == "POST":
            return Request("graphql", {}, {}, body, by)
        url = urlsplit(target.removeprefix(root) if target.startswith(root) else "/no-api")
        for template, methods in DESCRIPTION["paths"].items():
            pattern = re.sub(
                r"\\{(\w+)\\}",
                lambda found: f"(?P<{found[1]}>{'.+' if found[1] in {'path', 'ref'} else '[^/]+'})",
                re.escape(template),
            )
            found = re.fullmatch(pattern, url.path)
            if found and method.lower() in methods:
                path = {key: unquote(value) for key, value in found.groupdict().items()}
                query = {key: values[-1] for key, values in parse_qs(url.query, keep_blank_values=True).items()}
                request = Request(methods[method.lower()]["operationId"], path, query, body, by)
                problems = [
                    *_parameter_problems(methods[method.lower()], request),
                    *_body_problems(methods[method.lower()], body),
                ]
                return self._violation(f"{method} {target}: {problems}") if problems else request
        return self._violation(f"{method} {target} is not an operation of the description")

    def _violation(self, said: str) -> Response:
        self.violations.append(said)
        return RefusedError(422, said).response

    def _check_response(self, request: Request, response: Response) -> None:
        documented = _operation(request.operation)["responses"]
        if str(response.status) in documented:
            described = documented[str(response.status)]
            schema = described["schema"] if described else None
        elif response.status in UNDOCUMENTED:
            schema = {"$ref": "#/components/schemas/basic-error"}
        else:
            self.violations.append(f"{request.operation} does not respond {response.status}")
            return
        if schema is None or response.content is None:
            problems = [] if schema is response.content else ["a body is missing, or there is one"]
        else:
            problems = _problems(schema, response.content)
        self.violations.extend(f"response {response.status} of {request.operation}: {one}" for one in problems)


def _operation(name: str) -> Json:
    return next(
        one for methods in DESCRIPTION["paths"].values() for one in methods.values() if one["operationId"] == name
    )


def _example(operation: str, status: int) -> Any:
    return deepcopy(_operation(operation)["responses"][str(status)]["example"])


class _Validator(Protocol):
    def iter_errors(self, instance: object) -> Iterator[ValidationError]: ...


def _problems(schema: Json, value: object) -> list[str]:
    schema = {**schema, "components": DESCRIPTION["components"]}
    validator = cast("_Validator", Draft202012Validator(schema))
    return [f"{error.json_path}: {error.message[:200]}" for error in validator.iter_errors(value)]


def _parameter_problems(operation: Json, request: Request) -> list[str]:
    problems = [
        f"unknown query parameter {key}"
        for key in request.query
        if key not in {one["name"] for one in operation["parameters"]}
    ]
    for parameter in operation["parameters"]:
        values = request.path if parameter["in"] == "path" else request.query
        if parameter["name"] not in values:
            problems += [f"{parameter['name']} is missing"] if parameter["required"] else []
            continue
        text = values[parameter["name"]]
        number = parameter["schema"].get("type") == "integer" and text.isdecimal()
        problems += _problems(parameter["schema"], int(text) if number else text)
    return problems


def _body_problems(operation: Json, body: Json) -> list[str]:
    """Return what GitHub would refuse, and keys that it would ignore."""
    if operation["body"] is None:
        return ["a body that GitHub does not read"] if body else []
    return [f"unknown key {key}" for key in body if key not in operation["body"]["properties"]] + _problems(
        operation["body"], body
    )


def _check_length(text: str, resource: str) -> None:
    if len(text) > LONGEST:
        raise RefusedError(
            422,
            "Validation Failed",
            {
                "resource": resource,
                "code": "unprocessable",
                "field": "data",
                "message": "Body is too long (maximum is 65536 characters)",
            },
        )


def _user(by: Identity) -> Json:
    return _example("issues/create-comment", 201)["user"] | {"id": by.id, "login": by.login, "type": by.kind}


def _of(comment: Json, number: int) -> bool:
    return str(comment["issue_url"]).endswith(f"/issues/{number}")


@contextmanager
def serve(folder: Path, *, enterprise: bool = False) -> Generator[GitHub]:
    """Yield a GitHub at `address`; at the end, raise AssertionError for each violation of the description."""
    github = GitHub(folder / "github.git")

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _answer(self) -> None:
            content = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            response = github.handle(
                self.command, self.path, {key.lower(): value for key, value in self.headers.items()}, content
            )
            sent = b"" if response.content is None else json.dumps(response.content).encode()
            self.send_response_only(response.status)
            self.send_header("Content-Type", "application/json; charset=utf-8")
            self.send_header("Content-Length", str(len(sent)))
            for key, value in response.headers.items():
                self.send_header(key, value)
            self.end_headers()
            self.wfile.write(sent)

        def __getattr__(self, name: str) -> Callable[[], None]:
            if name.startswith("do_"):
                return self._answer
            raise AttributeError(name)

        def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
            del code, size

    class Server(ThreadingHTTPServer):
        def handle_error(self, request: object, client_address: object) -> None:
            """A client that was killed is what is tried here."""

    with Server(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        github.address = f"http://127.0.0.1:{server.server_port}{'/api/v3' if enterprise else ''}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield github
        finally:
            server.shutdown()
            thread.join()
    assert not github.violations, "\n".join(github.violations)


def environment(github: GitHub, token: str = "ghs_app") -> dict[str, str]:
    """Return the variables that a workflow has for this GitHub."""
    return {"GITHUB_API_URL": github.address, "GITHUB_REPOSITORY": NAME, "GITHUB_TOKEN": token}
