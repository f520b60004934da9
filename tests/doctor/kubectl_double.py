"""Fake `kubectl`: it prints the objects of a JSON file, and records its command lines in another."""

import json
import os
import signal
import sys
from pathlib import Path

WORLD = Path(os.environ["WORLD"])


def main(arguments: list[str]) -> int:
    with (WORLD / "asked").open("a") as asked:
        asked.write(json.dumps(arguments) + "\n")
    answers = json.loads((WORLD / "answers.json").read_text())
    namespace = arguments[arguments.index("--namespace") + 1]
    verb, *rest = arguments[arguments.index("--namespace") + 2 :]
    match verb:
        case "get":
            of_namespace = " all" if "--all-namespaces" in rest else f" {namespace}"
            found = answers.get(f"get {rest[0]}{of_namespace}", answers.get(f"get {rest[0]}", []))
        case "port-forward":
            found = answers.get(f"forward {rest[0].removeprefix('service/')}", "error: services not found")
        case _:
            found = answers[verb]
    if isinstance(found, str) and found.startswith("error"):
        print(found, file=sys.stderr)
        return 1
    if verb == "port-forward":
        print(f"Forwarding from {found} -> 80", flush=True)
        signal.pause()
    print(json.dumps({"items": found} if verb == "get" else found))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
