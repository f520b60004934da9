"""Fake `kubectl`: it prints the content of files in a folder, and records its command lines.

`scenes/` has the state of the cluster for each poll; the last one stays. `logs/` has the logs of the pods.
"""

import json
import os
import signal
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

WORLD = Path(os.environ["WORLD"])
SUFFIX = "x7k2p"


def main(arguments: list[str]) -> int:
    with (WORLD / "asked").open("a") as asked:
        asked.write(json.dumps(arguments) + "\n")
    options = {name: value for name, value in pairwise(arguments) if name.startswith("--")}
    if options.get("--context") == "elsewhere":
        print('error: context "elsewhere" does not exist', file=sys.stderr)
        return 1
    verb = next(word for word in arguments if word in VERBS)
    words = [word for word in arguments[arguments.index(verb) + 1 :] if not word.startswith("--")]
    return VERBS[verb](words, options)


def get(words: list[str], options: dict[str, str]) -> int:
    kinds = {kind.rstrip("s") for kind in words[0].split(",")}
    objects = last_seen() if kinds == {"event"} else scene(look="job" in kinds)
    wanted = dict(pair.split("=") for pair in options.get("--selector", "").split(",") if pair)
    about = dict(pair.split("=") for pair in options.get("--field-selector", "").split(",") if pair)
    items = [
        each
        for each in objects
        if each["kind"].lower() in kinds
        and wanted.items() <= each["metadata"].get("labels", {}).items()
        and all(
            each.get("involvedObject", {}).get(key.removeprefix("involvedObject.")) == value
            for key, value in about.items()
            if key.startswith("involvedObject.")
        )
    ]
    print(json.dumps({"apiVersion": "v1", "kind": "List", "items": items}))
    return 0


def scene(*, look: bool) -> list[dict[str, Any]]:
    shown = json.loads(min((WORLD / "scenes").iterdir()).read_text())
    if look:
        (WORLD / "seen.json").write_text(json.dumps(shown))
        go_on()
    return shown


def last_seen() -> list[dict[str, Any]]:
    return json.loads((WORLD / "seen.json").read_text())


def go_on() -> None:
    first, *more = sorted((WORLD / "scenes").iterdir())
    if more:
        first.unlink()


def create(_: list[str], __: dict[str, str]) -> int:
    manifest = json.load(sys.stdin)
    manifest["metadata"]["name"] = manifest["metadata"]["generateName"] + SUFFIX
    with (WORLD / "created").open("a") as created:
        created.write(json.dumps(manifest) + "\n")
    print(json.dumps(manifest))
    go_on()
    return 0


def logs(words: list[str], options: dict[str, str]) -> int:
    since = options.get("--since-time", "")[:19]
    lines = [line for line in (WORLD / "logs" / words[0]).read_text().splitlines() if line[:19] >= since]
    breaks = WORLD / "logs" / f"{words[0]}.breaks-after"
    if breaks.exists():
        lines = lines[: int(breaks.read_text())]
        breaks.unlink()
        print("\n".join(lines))
        print("error: unexpected EOF", file=sys.stderr)
        return 1
    print("\n".join(lines), flush=True)
    if (WORLD / "logs" / f"{words[0]}.goes-on").exists():
        signal.pause()
    return 0


def port_forward(_: list[str], __: dict[str, str]) -> int:
    if not (WORLD / "mlflow").exists():
        print("error: unable to forward port because pod is not running", file=sys.stderr)
        return 1
    print(f"Forwarding from {(WORLD / 'mlflow').read_text()} -> 5000", flush=True)
    signal.pause()
    return 0


def execute(_: list[str], __: dict[str, str]) -> int:
    """Run the command on this machine, with files of the world in the place of the pod's; none without a folder."""
    if not (WORLD / "pod").exists():
        print("error: unable to upgrade connection: container not found", file=sys.stderr)
        return 1
    words, places = sys.argv[sys.argv.index("--") + 1 :], {"/tmp/notebooks": "pod", "/tmp/jupyter-token": "token"}
    for there, here in places.items():
        words = [word.replace(there, str(WORLD / here)) for word in words]
    return subprocess.run(words, check=False).returncode


def delete(words: list[str], _: dict[str, str]) -> int:
    (WORLD / "deleted").write_text(" ".join(words))
    return 0


VERBS = {
    "get": get, "create": create, "logs": logs, "port-forward": port_forward, "exec": execute,
    "delete": delete,
}  # fmt: skip

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
