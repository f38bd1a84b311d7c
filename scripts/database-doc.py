#!/usr/bin/env python3
"""Writes docs/DATABASE.md, or checks with --check that it is up to date.

It makes an empty database of migrations/ and describes what is in it: comments come from the migrations, the rest from
SQLite. What is written by hand is in docs/database/. It needs python3 with SQLite 3.38 or newer.
"""

import pathlib
import re
import sqlite3
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
DOCUMENT = ROOT / "docs" / "DATABASE.md"
BY_HAND = ROOT / "docs" / "database"

# Comments of an earlier step that a later one made untrue. Migrations are frozen, so they are put right here.
CORRECTIONS = {
    "conversation.sender": "as the platform names them: +15551234567, users/alice; of /webhook the owner of the message, token:<id> or addr:<address>",
    "conversation.room": "the chat or room, blank where the channel has none; of /webhook the session",
    "memory": "Memory: what users said, each message once. It is put there soon after the message.",
    "memory_progress": "How far memory and its full text have come.",
    "memory_progress.remembered_to": "the last message.id that memory was told of",
    "message.channel": "how it came: webhook, whatsapp, linq or nextcloud_talk",
    "message.conversation_id": "whose turn it is; NULL: it came through /webhook without a session",
    "message.error_class": "why the last try failed, in one word",
    "message.sender": "token:<id> or addr:<address>; of a chat platform as that names them",
    "message_turn": "The turns of a conversation, which the model is told again.",
}

# What the schema says of itself by its names alone.
ADDITIONS = {
    "conversation.channel": "webhook, whatsapp, linq or nextcloud_talk",
    "conversation.started_at_ms": "when its first message came",
    "delivery.conversation_id": "where it goes",
    "delivery.created_at_ms": "when the reply was written",
    "delivery.finished_at_ms": "when it was sent or given up",
    "delivery.state": "see [States](#states)",
    "delivery.status_at_ms": "when the platform says it was that far",
    "delivery.text": "what the user sees",
    "delivery_conversation": "What is left of a conversation.",
    "delivery_due": "What is to be sent, by conversation.",
    "delivery_platform_id": "Which reply the news of a platform is about.",
    "early_status.platform_id": "the platform's id of what was sent",
    "early_status.received_at_ms": "when the news came",
    "early_status.status": "how far it has come",
    "early_status.status_at_ms": "when the platform says it was that far",
    "memory.category": "conversation; what was put in by hand may have another",
    "memory.channel": "how it was said: webhook, whatsapp, linq or nextcloud_talk",
    "memory.content": "what was said",
    "memory.created_at_ms": "when it was said",
    "memory.sender": "who said it, as in message.sender",
    "memory_progress.indexed_to": "the last memory.id whose text can be searched",
    "memory_progress.only": "there is one row",
    "memory_text.content": "the words, for `memory_text MATCH 'words'`; `rowid` is memory.id",
    "message.answer": "NULL: there is none; blank: it was erased, see answer_retention_days",
    "message.finished_at_ms": "when it was answered or given up",
    "message.id": "in the order of acceptance",
    "message.received_at_ms": "when it came",
    "message.state": "see [States](#states)",
    "message.text": "what was said; blank: not a text, such as a picture",
    "message_unfinished": "What waits or is at work.",
    "message_waiting": "What waits, by conversation.",
    "pairing_code.expires_at_ms": "from here on it is refused",
    "pairing_code.id": "the newest is the highest",
    "pairing_code.issued_at_ms": "when it was made",
    "pairing_code.state": "see [States](#states)",
    "pairing_code_live": "The codes that can still be used.",
    "pairing_failure.failed_at_ms": "when the wrong code was sent",
    "pairing_failure.id": "in the order of time",
    "pairing_failure_client": "What a client has done.",
    "pairing_lockout.client": "IP address, or an IPv6 /64",
    "pairing_lockout.id": "in the order of time",
    "pairing_lockout.locked_at_ms": "when it began",
    "pairing_lockout.locked_until_ms": "when it ends",
    "pairing_lockout_client": "What a client was locked out for.",
    "rate_hit.at_ms": "when the requests came",
    "rate_hit.scope": "which limit: of /pair, of /webhook, or of bad signatures",
    "rate_hit.token_id": "the client's token; 0: none that is valid",
    "received_id.channel": "whatsapp, linq or nextcloud_talk",
    "received_id.platform_id": "the platform's id of the message",
    "received_id.received_at_ms": "when it first came",
    "received_nonce.channel": "nextcloud_talk",
    "received_nonce.nonce": "Talk's random text",
    "received_nonce.received_at_ms": "when it came",
    "server_run.started_at_ms": "when it was started",
    "token.created_at_ms": "when it was made",
    "token.id": "names it in message.sender, rate_hit and idempotency_key",
    "token_import.imported_at_ms": "when it was taken over",
    "token_import.token_hash": "as in token",
}


class Schema:
    """What the migrations make, and what they say about it."""

    def __init__(self) -> None:
        self.connection = sqlite3.connect(":memory:")
        self.said: dict[str, str] = {}
        for step in sorted((ROOT / "migrations").glob("*.sql")):
            text = step.read_text()
            self.connection.executescript(text)
            self.said |= object_comments(text)
        self.complaints: list[str] = []
        self.used: set[str] = set()

    def objects(self, kind: str, table: str | None = None) -> list[tuple[str, str]]:
        """Names and statements, in the order of their names; without SQLite's own and those of the full text's inside."""
        rows = self.connection.execute(
            "SELECT name, sql FROM sqlite_schema WHERE type = ?1 AND (?2 IS NULL OR tbl_name = ?2) AND sql IS NOT NULL "
            "AND name NOT GLOB 'sqlite_*' AND name NOT GLOB 'memory_text_*' ORDER BY name",
            (kind, table),
        )
        return rows.fetchall()

    def columns(self, name: str) -> list[str]:
        return [row[1] for row in self.connection.execute(f"PRAGMA table_info({name})")]

    def comment(self, name: str, said: str | None) -> str:
        """What is said about a table, a column (`table.column`) or an index, put right where it is not true."""
        self.used.add(name)
        if name in CORRECTIONS and said is None:
            self.complaints.append(f"CORRECTIONS has {name}, which has no comment")
        if name in ADDITIONS and said is not None and name not in CORRECTIONS:
            self.complaints.append(f"ADDITIONS has {name}, which has a comment: {said}")
        text = CORRECTIONS.get(name) or ADDITIONS.get(name) or said
        if text is None:
            self.complaints.append(f"{name} has no comment: say in ADDITIONS what it is")
        return text or ""


def object_comments(migration: str) -> dict[str, str]:
    """The comments right before CREATE, by the names of what is created."""
    created = re.compile(r"((?:^-- .*\n)+)CREATE (?:VIRTUAL )?(?:TABLE|VIEW|INDEX|TRIGGER) (\w+)", re.MULTILINE)
    return {name: " ".join(re.findall(r"^-- (.*)$", text, re.MULTILINE)) for text, name in created.findall(migration)}


def items_of(table_sql: str) -> list[tuple[str, str | None]]:
    """The columns and constraints of a CREATE TABLE, each with its comment."""
    body = table_sql[table_sql.index("(") + 1 :]
    items: list[list[str]] = [["", ""]]
    depth = 0
    for token in re.findall(r"--[^\n]*|/\*.*?\*/|'(?:[^']|'')*'|[(),]|\s+|[^\s(),'/-]+|[/-]", body, re.DOTALL):
        if token.startswith(("--", "/*")):
            # A comment after the comma is about what is before it.
            about = items[-1] if items[-1][0].strip() else items[-2]
            about[1] += token.strip("-/* ")
        elif token == "," and depth == 0:
            items.append(["", ""])
        elif token == ")" and depth == 0:
            break
        else:
            depth += {"(": 1, ")": -1}.get(token, 0)
            items[-1][0] += token
    return [(" ".join(text.split()), comment or None) for text, comment in items]


def cell(text: str) -> str:
    """A text as it can stand in a table of Markdown."""
    return text.replace("|", "\\|").replace("<", "\\<")


def describe_table(schema: Schema, name: str, sql: str) -> str:
    lines = [f"### {name}", "", schema.comment(name, schema.said.get(name)).replace("<", "\\<"), ""]
    lines += ["| column | type | |", "|---|---|---|"]
    rules = []
    columns = schema.columns(name)
    for text, comment in items_of(sql):
        word, _, rest = text.partition(" ")
        if word in columns and not rest.startswith("="):  # an option of the full text has the name of its column
            about = schema.comment(f"{name}.{word}", comment)
            lines.append(f"| `{word}` | {cell(rest)} | {cell(about)} |")
        elif word in ("CONSTRAINT", "PRIMARY"):
            rules.append(f"- `{text.removeprefix('CONSTRAINT ')}`")
    lines += ["", "Rules:", "", *rules] if rules else []
    indexes = [describe_index(schema, *index) for index in schema.objects("index", name)]
    lines += ["", "Indexes:", "", *indexes] if indexes else []
    triggers = [f"- `{trigger}`: {when(sql)}" for trigger, sql in schema.objects("trigger", name)]
    lines += ["", "Triggers:", "", *triggers] if triggers else []
    if columns := schema.columns(f"v_{name}"):
        lines += ["", f"`v_{name}`: {', '.join(f'`{column}`' for column in columns)}"]
    return "\n".join(lines) + "\n"


def describe_index(schema: Schema, name: str, sql: str) -> str:
    on = " ".join(sql[sql.index(" ON ") + 4 :].split())
    return f"- `{name}` on `{on}`: {schema.comment(name, schema.said.get(name))}"


def when(trigger_sql: str) -> str:
    """When a trigger runs, such as `AFTER INSERT`."""
    words = " ".join(trigger_sql.split())
    moment = re.search(r"(?:BEFORE|AFTER|INSTEAD OF) (?:INSERT|DELETE|UPDATE(?: OF [\w, ]+?)?)(?= ON )", words)
    refused = re.search(r"RAISE\(ABORT, '([^']*)'\)", words)
    return f"`{moment.group()}`" + (f", refused: {refused.group(1)}" if refused else "")


def describe_view(schema: Schema, name: str) -> str:
    columns = ", ".join(f"`{column}`" for column in schema.columns(name))
    return f"- `{name}`: {schema.comment(name, schema.said.get(name))} {columns}"


def statements_of(file: str) -> str:
    """The statements of a file, each with its sentence before it."""
    _, *blocks = (BY_HAND / file).read_text().strip().split("\n\n")
    lines = []
    for number, block in enumerate(blocks, 1):
        sentence = " ".join(re.findall(r"^-- (.*)$", block, re.MULTILINE))
        statement = re.sub(r"^--.*\n", "", block, flags=re.MULTILINE)
        lines.append(f"{number}. {sentence}\n\n```sql\n{statement}\n```\n")
    return "\n".join(lines)


def describe(schema: Schema) -> str:
    tables = schema.objects("table")
    names = {f"v_{name}" for name, _ in tables}
    others = [describe_view(schema, name) for name, _ in schema.objects("view") if name not in names]
    parts = [
        (BY_HAND / "introduction.md").read_text(),
        "## Twenty queries\n\nThey are in `docs/database/queries.sql`.\n",
        statements_of("queries.sql"),
        "## Edits\n\nThey are in `docs/database/edits.sql`. The names and numbers in them are examples.\n",
        statements_of("edits.sql"),
        "## Tables\n",
        *(describe_table(schema, *table) for table in tables),
        "## Other views\n",
        "\n".join(others) + "\n",
    ]
    schema.complaints += [f"there is no {name}" for name in (CORRECTIONS | ADDITIONS).keys() - schema.used]
    return "\n".join(parts)


def main() -> int:
    schema = Schema()
    described = describe(schema)
    for complaint in schema.complaints:
        print(complaint, file=sys.stderr)
    if schema.complaints:
        return 1
    if "--check" not in sys.argv[1:]:
        DOCUMENT.write_text(described)
        print(f"{DOCUMENT.name}: {len(schema.objects('table'))} tables")
        return 0
    if not DOCUMENT.exists() or DOCUMENT.read_text() != described:
        print("docs/DATABASE.md is out of date: run scripts/database-doc.py", file=sys.stderr)
        return 1
    print("docs/DATABASE.md is up to date")
    return 0


if __name__ == "__main__":
    sys.exit(main())
