-- Channels: conversations, what was received by its platform's id, and the outbox. Messages of channels are rows of the
-- inbox, `message`, like those of /webhook.

-- Who talks with us where. Messages of one conversation are answered in order.
CREATE TABLE conversation (
    id            INTEGER PRIMARY KEY AUTOINCREMENT, -- never used twice, since messages and deliveries name it
    channel       TEXT    NOT NULL,
    sender        TEXT    NOT NULL, -- as the platform names them: +15551234567, users/alice
    room          TEXT    NOT NULL, -- the chat or room; blank where the channel has none
    started_at_ms INTEGER NOT NULL,
    CONSTRAINT conversation_is_one UNIQUE (channel, sender, room)
) STRICT;

ALTER TABLE message ADD COLUMN conversation_id INTEGER /* whose turn it is; NULL: it came in through /webhook */;
ALTER TABLE message ADD COLUMN platform_id TEXT /* the platform's id of it; NULL: /webhook */;
ALTER TABLE message ADD COLUMN reply_to TEXT /* what a reply refers to, as the platform names it */;
ALTER TABLE message ADD COLUMN next_attempt_at_ms INTEGER /* when work on it may be begun again; NULL: at once */;
CREATE INDEX message_waiting ON message (conversation_id, id)
    WHERE conversation_id IS NOT NULL AND state IN ('accepted', 'running');

-- The platforms' ids of what was received in the last days, so that a redelivery changes nothing. They outlive their
-- messages, which may be deleted at any time.
CREATE TABLE received_id (
    id             INTEGER PRIMARY KEY, -- in the order of time: the sweep takes the lowest
    channel        TEXT    NOT NULL,
    platform_id    TEXT    NOT NULL,
    received_at_ms INTEGER NOT NULL,
    CONSTRAINT received_id_is_one UNIQUE (channel, platform_id)
) STRICT;

-- What a platform promised never to send twice (Talk's random) in the last day: a second call with it is a replay.
CREATE TABLE received_nonce (
    id             INTEGER PRIMARY KEY, -- in the order of time
    channel        TEXT    NOT NULL,
    nonce          TEXT    NOT NULL,
    received_at_ms INTEGER NOT NULL,
    CONSTRAINT received_nonce_is_one UNIQUE (channel, nonce)
) STRICT;

-- The outbox: every part of every reply to a channel, written with the answer and sent afterwards, in the order of ids
-- within a conversation.
CREATE TABLE delivery (
    id                 INTEGER PRIMARY KEY AUTOINCREMENT, -- never used twice: what came of a job is written to the row of the job
    message_id         INTEGER NOT NULL, -- what it replies to; no foreign key, since messages may be deleted earlier
    conversation_id    INTEGER NOT NULL,
    kind               TEXT    NOT NULL, -- what it says: the answer, an apology, or a notice that only text is understood
    part               INTEGER NOT NULL, -- from 1
    parts              INTEGER NOT NULL, -- of the whole reply
    reply_to           TEXT,             -- what it refers to, as the platform names it
    text               TEXT    NOT NULL,
    state              TEXT    NOT NULL DEFAULT 'due',
    attempts           INTEGER NOT NULL DEFAULT 0, -- how often sending it was begun
    in_doubt           INTEGER NOT NULL DEFAULT 0, -- how often it was sent without learning whether it arrived: it may be there twice
    run_id             INTEGER,          -- the server_run that is sending it just now
    next_attempt_at_ms INTEGER,          -- when it may be tried again; NULL: at once
    platform_id        TEXT,             -- the platform's id of what was sent
    status             TEXT,             -- how far it has come, as the platform tells
    status_at_ms       INTEGER,
    error_class        TEXT,             -- why the last try failed, in one word
    created_at_ms      INTEGER NOT NULL,
    finished_at_ms     INTEGER,
    CONSTRAINT delivery_kind CHECK (kind IN ('answer', 'apology', 'notice')),
    CONSTRAINT delivery_state CHECK (state IN ('due', 'sent', 'dead')),
    CONSTRAINT delivery_finished CHECK ((state = 'due') = (finished_at_ms IS NULL)),
    CONSTRAINT delivery_part CHECK (part BETWEEN 1 AND parts),
    CONSTRAINT delivery_status CHECK (status IN ('sent', 'delivered', 'read', 'failed'))
) STRICT;
CREATE INDEX delivery_due ON delivery (conversation_id, id) WHERE state = 'due';
CREATE INDEX delivery_platform_id ON delivery (platform_id) WHERE platform_id IS NOT NULL;

-- News of sent messages that came before we had noted under which id the platform has them; kept for some minutes.
CREATE TABLE early_status (
    platform_id    TEXT    PRIMARY KEY,
    status         TEXT    NOT NULL,
    status_at_ms   INTEGER NOT NULL,
    received_at_ms INTEGER NOT NULL,
    CONSTRAINT early_status_status CHECK (status IN ('sent', 'delivered', 'read', 'failed'))
) STRICT, WITHOUT ROWID;

-- Hits of a third kind: calls of platforms with a bad signature. SQLite changes a CHECK only with its table.
CREATE TABLE rate_hit_before AS SELECT at_ms, scope, token_id, address, hits FROM rate_hit;
DROP TABLE rate_hit;
-- Admitted requests of the last 60 seconds, which the sliding windows are made of. The key is in time order, so that
-- rows are added at one end and swept from the other. token_id 0: the request carried no valid token.
CREATE TABLE rate_hit (
    at_ms    INTEGER NOT NULL,
    scope    TEXT    NOT NULL,
    token_id INTEGER NOT NULL,
    address  TEXT    NOT NULL, -- IP address, or an IPv6 /64
    hits     INTEGER NOT NULL, -- requests admitted in this millisecond
    PRIMARY KEY (at_ms, scope, token_id, address),
    CONSTRAINT rate_hit_scope CHECK (scope IN ('pair', 'webhook', 'signature'))
) STRICT, WITHOUT ROWID;
INSERT INTO rate_hit SELECT at_ms, scope, token_id, address, hits FROM rate_hit_before;
DROP TABLE rate_hit_before;

DROP VIEW v_message;
CREATE VIEW v_message AS
SELECT id, strftime('%Y-%m-%dT%H:%M:%fZ', received_at_ms / 1000.0, 'unixepoch') AS received_at,
       channel, sender, idempotency_key, platform_id, state, error_class, attempts,
       CASE WHEN state = 'accepted' AND next_attempt_at_ms > unixepoch() * 1000
            THEN 'in ' || ((next_attempt_at_ms - unixepoch() * 1000 + 999) / 1000) || ' s' END AS next_attempt,
       model, finished_at_ms - received_at_ms AS took_ms,
       substr(text, 1, 60) AS text_starts, substr(answer, 1, 60) AS answer_starts
FROM message;

CREATE VIEW v_conversation AS
SELECT c.id, c.channel, c.sender, c.room,
       strftime('%Y-%m-%dT%H:%M:%fZ', c.started_at_ms / 1000.0, 'unixepoch') AS started_at,
       (SELECT count(*) FROM message AS m WHERE m.conversation_id = c.id AND m.state IN ('accepted', 'running')) AS waiting,
       (SELECT count(*) FROM delivery AS d WHERE d.conversation_id = c.id AND d.state = 'due') AS replies_due
FROM conversation AS c;

CREATE VIEW v_received_id AS
SELECT channel, platform_id, strftime('%Y-%m-%dT%H:%M:%fZ', received_at_ms / 1000.0, 'unixepoch') AS received_at
FROM received_id;

CREATE VIEW v_received_nonce AS
SELECT channel, nonce, strftime('%Y-%m-%dT%H:%M:%fZ', received_at_ms / 1000.0, 'unixepoch') AS received_at
FROM received_nonce;

CREATE VIEW v_early_status AS
SELECT platform_id, status, strftime('%Y-%m-%dT%H:%M:%fZ', status_at_ms / 1000.0, 'unixepoch') AS status_at,
       strftime('%Y-%m-%dT%H:%M:%fZ', received_at_ms / 1000.0, 'unixepoch') AS received_at
FROM early_status;

CREATE VIEW v_delivery AS
SELECT d.id, d.message_id, c.channel, c.sender, d.kind, d.part || ' of ' || d.parts AS part,
       CASE WHEN d.state = 'due' AND d.run_id IS NOT NULL THEN 'being sent'
            WHEN d.state = 'due' AND d.next_attempt_at_ms > unixepoch() * 1000
            THEN 'due in ' || ((d.next_attempt_at_ms - unixepoch() * 1000 + 999) / 1000) || ' s'
            ELSE d.state END AS state,
       d.attempts, d.in_doubt, d.error_class, d.platform_id, d.status,
       strftime('%Y-%m-%dT%H:%M:%fZ', d.created_at_ms / 1000.0, 'unixepoch') AS created_at,
       strftime('%Y-%m-%dT%H:%M:%fZ', d.finished_at_ms / 1000.0, 'unixepoch') AS finished_at,
       strftime('%Y-%m-%dT%H:%M:%fZ', d.status_at_ms / 1000.0, 'unixepoch') AS status_at,
       substr(d.text, 1, 60) AS text_starts
FROM delivery AS d LEFT JOIN conversation AS c ON c.id = d.conversation_id;
