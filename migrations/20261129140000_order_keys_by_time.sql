-- Idempotency keys in the order of their messages. A key is some random text, and each page of a tree of random texts is another
-- one for each key that is written: most of what a busy server wrote to its disk. Here new keys stand at one end and old ones go
-- from the other, and the index that finds them is in parts of 1024 messages each, so that what is written lately is together.

DROP VIEW v_idempotency_key;
-- The keys on their way from the old table to the new one.
CREATE TABLE key_on_record AS SELECT * FROM idempotency_key;
DROP TABLE idempotency_key; -- its index and its triggers go with it

-- Idempotency keys in use: running, or answered less than idempotency_ttl_secs ago. A key whose work failed is gone. Of several
-- rows of one owner with one key the newest counts; the others have expired.
-- There is no foreign key to message: SQLite would search this table for every message that is deleted.
CREATE TABLE idempotency_key (
    message_id     INTEGER PRIMARY KEY, -- the message that was first posted with it
    owner          TEXT NOT NULL, -- whose key it is: token:<id> or addr:<address>
    key            TEXT NOT NULL, -- as the client sent it
    body_hash      BLOB NOT NULL, -- SHA-256 of the request body that the key is bound to
    state          TEXT NOT NULL, -- see [States](#states)
    answered_at_ms INTEGER,       -- from here on it is kept for idempotency_ttl_secs
    answered_no    INTEGER,       -- the how-manyeth answered key of its owner: the oldest are dropped by it
    CONSTRAINT idempotency_key_state CHECK (state IN ('running', 'answered')),
    CONSTRAINT idempotency_key_answered CHECK ((state = 'answered') = (answered_at_ms IS NOT NULL AND answered_no IS NOT NULL))
) STRICT;
-- A key whose message was deleted by hand is free, and its number may be another message's by now: it stays behind.
INSERT INTO idempotency_key (message_id, owner, key, body_hash, state, answered_at_ms, answered_no)
SELECT k.message_id, k.owner, k.key, k.body_hash, k.state, k.answered_at_ms, k.answered_no
FROM key_on_record AS k JOIN message AS m ON m.id = k.message_id AND m.sender = k.owner AND m.idempotency_key = k.key
ORDER BY k.message_id;
DROP TABLE key_on_record;
-- Where a key is: one look into each part of 1024 messages, the newest first.
CREATE INDEX idempotency_key_part ON idempotency_key (message_id >> 10, key);
-- The oldest answered keys of an owner.
CREATE INDEX idempotency_key_order ON idempotency_key (owner, answered_no) WHERE answered_no IS NOT NULL;

CREATE VIEW v_idempotency_key AS
SELECT owner, key, state, message_id,
       strftime('%Y-%m-%dT%H:%M:%fZ', answered_at_ms / 1000.0, 'unixepoch') AS answered_at,
       lower(hex(substr(body_hash, 1, 6))) AS body_hash_starts
FROM idempotency_key;

-- What a key stands for is not exchanged.
CREATE TRIGGER idempotency_key_is_fixed
AFTER UPDATE OF message_id, owner, key ON idempotency_key
WHEN new.message_id <> old.message_id OR new.owner <> old.owner OR new.key <> old.key
BEGIN
    SELECT RAISE(ABORT, 'an idempotency key keeps its owner, its name and its message: delete it');
END;
CREATE TRIGGER idempotency_key_stays_answered
AFTER UPDATE OF state ON idempotency_key
WHEN old.state = 'answered' AND new.state <> 'answered' AND EXISTS (
         SELECT 1 FROM message AS m
         WHERE m.id = new.message_id AND m.sender = new.owner AND m.idempotency_key = new.key AND m.state = 'answered')
BEGIN
    SELECT RAISE(ABORT, 'an idempotency key that was answered stands for its message: delete it, and the next request is answered anew');
END;
