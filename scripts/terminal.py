#!/usr/bin/env python3
"""Records a terminal session of the main commands in README.md, or checks with --check that it is up to date.

It starts a server in a folder of its own, runs each command on a terminal, and writes down what is on the screen in the end.
Nothing is made up. The check runs it all again and compares it without its numbers,
which are others each time. It needs python3 and cargo.
"""

import http.client
import json
import os
import pathlib
import pty
import re
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
README = ROOT / "README.md"
BEGIN = "<!-- recorded by scripts/terminal.py -->\n"
END = "<!-- end of the recording -->\n"

# What is typed; what is answered to its question, if it has one.
SESSION = [
    ("moorgate pair --label laptop", None),
    ("moorgate token list", None),
    ("moorgate message list --since 1h", None),
    ("moorgate message show 2", None),
    ("moorgate memory search bicycle", None),
    ("moorgate lockout list", None),
    ("moorgate token revoke ci", "y"),
    ("moorgate db backup copy.db", None),
    ("moorgate doctor", None),
]


def build() -> pathlib.Path:
    subprocess.run(["cargo", "build", "--quiet", "--bin", "moorgate"], cwd=ROOT, check=True)
    metadata = subprocess.run(
        ["cargo", "metadata", "--format-version", "1", "--no-deps"], cwd=ROOT, check=True, capture_output=True
    )
    return pathlib.Path(json.loads(metadata.stdout)["target_directory"]) / "debug"


def request(port: int, path: str, headers: dict[str, str], body: str = "") -> dict:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request("POST", path, body, headers)
    return json.loads(connection.getresponse().read())


def make_traffic(port: int, code: str) -> None:
    """A client that pairs and posts, and a stranger who guesses codes."""
    token = request(port, "/pair", {"X-Pairing-Code": code})["token"]
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    for key, text in (("order-1", "Is the red bicycle ready?"), ("order-2", "Then I shall fetch it at noon.")):
        request(port, "/webhook", headers | {"Idempotency-Key": key}, json.dumps({"message": text}))
    for _ in range(5):
        request(port, "/pair", {"X-Pairing-Code": "000000 is a guess"})


def run_on_terminal(command: str, answer: str | None, folder: str, env: dict[str, str]) -> str:
    """What is on the screen when the command has ended."""
    master, terminal = pty.openpty()
    process = subprocess.Popen(command.split(), cwd=folder, env=env, stdin=terminal, stdout=terminal, stderr=terminal)
    os.close(terminal)
    output = b""
    while True:
        try:
            more = os.read(master, 4096)
        except OSError:  # nobody has the terminal any more
            break
        if not more:
            break
        output += more
        if answer and output.endswith(b"[y/N] "):
            os.write(master, f"{answer}\n".encode())
    os.close(master)
    if process.wait() != 0:
        raise SystemExit(f"{command}: exit code {process.returncode}\n{output.decode()}")
    lines = output.decode().replace("\r\n", "\n")
    return re.sub(r"[^\n]*\r\x1b\[K", "", lines)  # what was written over


def record() -> str:
    programs = build()
    with tempfile.TemporaryDirectory() as folder:
        env = {"PATH": f"{programs}:{os.environ['PATH']}", "TZ": "UTC", "MOORGATE_OBSERVABILITY__LOG_LEVEL": "error"}
        serve = ["moorgate", "serve", "--port", "0", "--print-json"]
        with subprocess.Popen(serve, cwd=folder, env=env, stdout=subprocess.PIPE, text=True) as server:
            try:
                banner = json.loads(server.stdout.readline())
                port = int(banner["url"].rsplit(":", 1)[1])
                env["MOORGATE_GATEWAY__PORT"] = str(port)
                create = ["moorgate", "token", "create", "--label", "ci", "--ttl", "90d"]
                subprocess.run(create, cwd=folder, env=env, check=True, capture_output=True)
                make_traffic(port, banner["pairing_code"])
                shown = [f"$ {typed}\n{run_on_terminal(typed, answer, folder, env)}" for typed, answer in SESSION]
            finally:
                server.terminate()
    session = "\n".join(shown)
    return f"```console\n{session}```\n"


def without_numbers(text: str) -> str:
    """What is the same each time. How much room there is, is another machine's business."""
    text = re.sub(r"(ok|warning|error) +disk space .*\n( +fix: .*\n)?", "", text)
    text = re.sub(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", "a UUID", text)
    return re.sub(r" +", " ", re.sub(r"\d+", "0", text))


def main() -> int:
    readme = README.read_text()
    before, rest = readme.split(BEGIN)
    old, after = rest.split(END)
    new = record()
    if "--check" in sys.argv[1:]:
        if without_numbers(old) != without_numbers(new):
            print("the session in README.md is out of date: run scripts/terminal.py", file=sys.stderr)
            return 1
        print("the session in README.md is up to date")
        return 0
    README.write_text(before + BEGIN + new + END + after)
    print(f"README.md: {len(SESSION)} commands")
    return 0


if __name__ == "__main__":
    sys.exit(main())
