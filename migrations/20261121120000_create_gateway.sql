-- The gateway's first schema. Times are milliseconds since 1970 in UTC. States are words.
-- Everything here may be read with sqlite3 while the server runs, and edited: see README.md, "Look inside".

-- One row for each start of the server. A message that is `running` under another run than the newest was cut.
CREATE TABLE server_run (
    id            INTEGER PRIMARY KEY AUTOINCREMENT, -- never used twice, since messages name it
    started_at_ms INTEGER NOT NULL,
    stopped_at_ms INTEGER,          -- NULL: it is running, or it was killed
    pid           INTEGER NOT NULL, -- process id, for the operator
    version       TEXT    NOT NULL  -- of the program
) STRICT;

-- The clients that may post. AUTOINCREMENT: an id is never given to a second client, since keys and limits name it.
CREATE TABLE token (
    id            INTEGER PRIMARY KEY AUTOINCREMENT,
    label         TEXT    NOT NULL,  -- for people
    token_hash    TEXT    NOT NULL UNIQUE, -- lowercase hex SHA-256 of the token; the token itself is nowhere
    source        TEXT    NOT NULL,  -- how it came to be
    created_at_ms INTEGER NOT NULL,
    expires_at_ms INTEGER,           -- NULL: never
    revoked_at_ms INTEGER,           -- NULL: not revoked; set it and the token is refused within a second
    CONSTRAINT token_hash_is_sha256 CHECK (length(token_hash) = 64 AND token_hash NOT GLOB '*[^0-9a-f]*'),
    CONSTRAINT token_source CHECK (source IN ('pairing', 'command', 'import'))
) STRICT;

-- The tokens that the configuration named: each is taken over once, so that what is deleted here stays deleted.
CREATE TABLE token_import (
    token_hash     TEXT    PRIMARY KEY,
    imported_at_ms INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- The one-time codes for POST /pair.
CREATE TABLE pairing_code (
    id              INTEGER PRIMARY KEY,
    salt            BLOB    NOT NULL, -- 16 random bytes
    code_hash       BLOB    NOT NULL, -- HMAC-SHA256 of the six digits, keyed with the salt
    label           TEXT    NOT NULL, -- the label that its token gets
    state           TEXT    NOT NULL DEFAULT 'live',
    failed_attempts INTEGER NOT NULL DEFAULT 0, -- wrong codes from all clients while this one was live
    issued_at_ms    INTEGER NOT NULL,
    expires_at_ms   INTEGER NOT NULL,
    token_id        INTEGER REFERENCES token (id) ON DELETE SET NULL, -- the token that it was redeemed for
    CONSTRAINT pairing_code_state CHECK (state IN ('live', 'redeemed', 'exhausted', 'replaced'))
) STRICT;
CREATE INDEX pairing_code_live ON pairing_code (id) WHERE state = 'live';

-- Wrong codes that still count against their client: those of the last 15 minutes, since its last lockout.
CREATE TABLE pairing_failure (
    id           INTEGER PRIMARY KEY,
    client       TEXT    NOT NULL, -- IP address, or an IPv6 /64
    failed_at_ms INTEGER NOT NULL
) STRICT;
CREATE INDEX pairing_failure_client ON pairing_failure (client, failed_at_ms);

-- Lockouts of the last day: the newest decides whether the client is locked out, their number how long the next lasts.
-- Delete a client's rows and it may try again within a second.
CREATE TABLE pairing_lockout (
    id              INTEGER PRIMARY KEY,
    client          TEXT    NOT NULL,
    locked_at_ms    INTEGER NOT NULL,
    locked_until_ms INTEGER NOT NULL,
    CONSTRAINT pairing_lockout_order CHECK (locked_until_ms > locked_at_ms)
) STRICT;
CREATE INDEX pairing_lockout_client ON pairing_lockout (client, locked_at_ms);

-- Admitted requests of the last 60 seconds, which the sliding windows are made of. The key is in time order, so that
-- rows are added at one end and swept from the other. token_id 0: the request carried no valid token.
CREATE TABLE rate_hit (
    at_ms    INTEGER NOT NULL,
    scope    TEXT    NOT NULL,
    token_id INTEGER NOT NULL,
    address  TEXT    NOT NULL, -- IP address, or an IPv6 /64
    hits     INTEGER NOT NULL, -- requests admitted in this millisecond
    PRIMARY KEY (at_ms, scope, token_id, address),
    CONSTRAINT rate_hit_scope CHECK (scope IN ('pair', 'webhook'))
) STRICT, WITHOUT ROWID;

-- The inbox: every message that was accepted, and what became of it. Ids are in order of acceptance.
CREATE TABLE message (
    id              INTEGER PRIMARY KEY,
    received_at_ms  INTEGER NOT NULL,
    channel         TEXT    NOT NULL, -- how it came: webhook
    sender          TEXT    NOT NULL, -- token:<id> or addr:<address>
    idempotency_key TEXT,             -- NULL: it had none, and its sender will send it again if it got no answer
    text            TEXT    NOT NULL,
    state           TEXT    NOT NULL,
    attempts        INTEGER NOT NULL, -- how often work on it was begun
    run_id          INTEGER NOT NULL, -- the server_run that last worked on it
    answer          TEXT,
    model           TEXT,             -- the model that answered
    error_class     TEXT,             -- why it failed, in one word
    finished_at_ms  INTEGER,
    CONSTRAINT message_state CHECK (state IN ('accepted', 'running', 'answered', 'failed', 'interrupted')),
    CONSTRAINT message_answered CHECK ((state = 'answered') = (answer IS NOT NULL))
) STRICT;
CREATE INDEX message_unfinished ON message (id) WHERE state IN ('accepted', 'running');

-- Idempotency keys in use: running, or answered less than idempotency_ttl_secs ago. A key whose work failed is gone.
-- There is no foreign key to message: SQLite would search this table for every message that is deleted.
CREATE TABLE idempotency_key (
    owner          TEXT    NOT NULL, -- whose key it is: token:<id> or addr:<address>
    key            TEXT    NOT NULL,
    body_hash      BLOB    NOT NULL, -- SHA-256 of the request body that the key is bound to
    state          TEXT    NOT NULL,
    message_id     INTEGER NOT NULL,
    answered_at_ms INTEGER,
    answered_no    INTEGER,          -- the how-manyeth answered key of its owner: the oldest are dropped by it
    PRIMARY KEY (owner, key),
    CONSTRAINT idempotency_key_state CHECK (state IN ('running', 'answered')),
    CONSTRAINT idempotency_key_answered CHECK ((state = 'answered') = (answered_at_ms IS NOT NULL AND answered_no IS NOT NULL))
) STRICT, WITHOUT ROWID;
CREATE INDEX idempotency_key_order ON idempotency_key (owner, answered_no) WHERE answered_no IS NOT NULL;

-- Views for people: ISO times in UTC, and what follows from them just now.

CREATE VIEW v_server_run AS
SELECT id, strftime('%Y-%m-%dT%H:%M:%fZ', started_at_ms / 1000.0, 'unixepoch') AS started_at,
       strftime('%Y-%m-%dT%H:%M:%fZ', stopped_at_ms / 1000.0, 'unixepoch') AS stopped_at, pid, version,
       CASE WHEN stopped_at_ms IS NOT NULL THEN 'stopped'
            WHEN id = (SELECT max(id) FROM server_run) THEN 'running or killed' ELSE 'killed' END AS state
FROM server_run;

CREATE VIEW v_token AS
SELECT id, label, source,
       CASE WHEN revoked_at_ms IS NOT NULL THEN 'revoked'
            WHEN expires_at_ms <= unixepoch() * 1000 THEN 'expired' ELSE 'live' END AS state,
       strftime('%Y-%m-%dT%H:%M:%fZ', created_at_ms / 1000.0, 'unixepoch') AS created_at,
       strftime('%Y-%m-%dT%H:%M:%fZ', expires_at_ms / 1000.0, 'unixepoch') AS expires_at,
       strftime('%Y-%m-%dT%H:%M:%fZ', revoked_at_ms / 1000.0, 'unixepoch') AS revoked_at,
       substr(token_hash, 1, 12) AS hash_starts
FROM token;

CREATE VIEW v_token_import AS
SELECT token_hash, strftime('%Y-%m-%dT%H:%M:%fZ', imported_at_ms / 1000.0, 'unixepoch') AS imported_at
FROM token_import;

CREATE VIEW v_pairing_code AS
SELECT id, label,
       CASE WHEN state = 'live' AND expires_at_ms <= unixepoch() * 1000 THEN 'expired' ELSE state END AS state,
       failed_attempts,
       strftime('%Y-%m-%dT%H:%M:%fZ', issued_at_ms / 1000.0, 'unixepoch') AS issued_at,
       strftime('%Y-%m-%dT%H:%M:%fZ', expires_at_ms / 1000.0, 'unixepoch') AS expires_at, token_id
FROM pairing_code;

CREATE VIEW v_pairing_failure AS
SELECT client, count(*) AS failures,
       strftime('%Y-%m-%dT%H:%M:%fZ', min(failed_at_ms) / 1000.0, 'unixepoch') AS first_at,
       strftime('%Y-%m-%dT%H:%M:%fZ', max(failed_at_ms) / 1000.0, 'unixepoch') AS last_at
FROM pairing_failure GROUP BY client;

CREATE VIEW v_pairing_lockout AS
SELECT client, count(*) AS lockouts_in_a_day,
       CASE WHEN max(locked_until_ms) > unixepoch() * 1000
            THEN 'locked for ' || CAST((max(locked_until_ms) - unixepoch() * 1000 + 999) / 1000 AS INTEGER) || ' s'
            ELSE 'over' END AS state,
       strftime('%Y-%m-%dT%H:%M:%fZ', max(locked_at_ms) / 1000.0, 'unixepoch') AS locked_at,
       strftime('%Y-%m-%dT%H:%M:%fZ', max(locked_until_ms) / 1000.0, 'unixepoch') AS locked_until
FROM pairing_lockout GROUP BY client;

CREATE VIEW v_rate_hit AS
SELECT scope, CASE token_id WHEN 0 THEN NULL ELSE token_id END AS token_id, address,
       sum(hits) AS hits_in_60_s,
       strftime('%Y-%m-%dT%H:%M:%fZ', min(at_ms) / 1000.0, 'unixepoch') AS first_at,
       strftime('%Y-%m-%dT%H:%M:%fZ', max(at_ms) / 1000.0, 'unixepoch') AS last_at
FROM rate_hit WHERE at_ms > unixepoch() * 1000 - 60000
GROUP BY scope, token_id, address;

CREATE VIEW v_message AS
SELECT id, strftime('%Y-%m-%dT%H:%M:%fZ', received_at_ms / 1000.0, 'unixepoch') AS received_at,
       channel, sender, idempotency_key, state, error_class, attempts, model,
       finished_at_ms - received_at_ms AS took_ms, substr(text, 1, 60) AS text_starts, substr(answer, 1, 60) AS answer_starts
FROM message;

CREATE VIEW v_idempotency_key AS
SELECT owner, key, state, message_id,
       strftime('%Y-%m-%dT%H:%M:%fZ', answered_at_ms / 1000.0, 'unixepoch') AS answered_at,
       lower(hex(substr(body_hash, 1, 6))) AS body_hash_starts
FROM idempotency_key;
