#!/usr/bin/env python3
"""Writes sqlx-data.json, the description of every query, or checks with --check that it is up to date.

It makes an empty database of migrations/, lets the macros ask it while cargo checks the crate, and merges what they
write into one file. It needs python3 and cargo, no sqlx-cli.
"""

import json
import os
import pathlib
import sqlite3
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
DATA = ROOT / "sqlx-data.json"


def describe(folder: pathlib.Path) -> str:
    database = folder / "schema.db"
    connection = sqlite3.connect(database)
    for step in sorted((ROOT / "migrations").glob("*.sql")):
        connection.executescript(step.read_text())
    connection.close()
    queries = folder / "queries"
    queries.mkdir()
    (ROOT / "src" / "lib.rs").touch()  # so that the macros run again
    environment = os.environ | {
        "SQLX_OFFLINE": "false",
        "SQLX_OFFLINE_DIR": str(queries),
        "DATABASE_URL": f"sqlite://{database}",
    }
    subprocess.run(["cargo", "check", "--quiet", "--lib"], cwd=ROOT, env=environment, check=True)
    merged = {}
    for path in sorted(queries.glob("query-*.json")):
        query = json.loads(path.read_text())
        merged[query["hash"]] = query
    return json.dumps(merged, indent=1, sort_keys=True) + "\n"


def main() -> int:
    with tempfile.TemporaryDirectory() as folder:
        described = describe(pathlib.Path(folder))
    if "--check" not in sys.argv[1:]:
        DATA.write_text(described)
        print(f"{DATA.name}: {len(json.loads(described))} queries")
        return 0
    if DATA.read_text() != described:
        print("sqlx-data.json is out of date: run scripts/sqlx-data.py", file=sys.stderr)
        return 1
    print("sqlx-data.json is up to date")
    return 0


if __name__ == "__main__":
    sys.exit(main())
