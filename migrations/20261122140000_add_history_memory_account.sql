-- Conversations over /webhook, memory, and what each turn took.

-- A message that was posted to /webhook with X-Session-Id has a conversation too: its channel is 'webhook', its sender the
-- owner of the message, its room the session. So `message.channel`, not `message.conversation_id`, tells how a message came.
-- A column's comment of an earlier step says otherwise.
CREATE INDEX message_turn ON message (conversation_id, id)
    WHERE conversation_id IS NOT NULL AND state = 'answered' AND text <> '' AND answer <> '';
-- Whether anything of a conversation is left.
CREATE INDEX message_given_up ON message (conversation_id)
    WHERE conversation_id IS NOT NULL AND state IN ('failed', 'interrupted');
CREATE INDEX delivery_conversation ON delivery (conversation_id);

ALTER TABLE message ADD COLUMN provider TEXT /* the kind of provider that answered, or was called last; NULL: none was */;
ALTER TABLE message ADD COLUMN provider_calls INTEGER /* calls of providers, retries and fallbacks included */;
ALTER TABLE message ADD COLUMN provider_ms INTEGER /* from the question to its end, waiting and pauses included */;
ALTER TABLE message ADD COLUMN prompt_tokens INTEGER /* tokens that the model read; NULL: the provider does not tell */;
ALTER TABLE message ADD COLUMN completion_tokens INTEGER /* tokens that the model wrote; NULL: the provider does not tell */;

-- Memory: what users said, each message once, written with the message.
CREATE TABLE memory (
    id            INTEGER PRIMARY KEY, -- in the order of time
    key           TEXT    NOT NULL,    -- webhook_msg_<uuid>, or <channel>_<sender>_<the platform's id>
    category      TEXT    NOT NULL,
    channel       TEXT    NOT NULL,
    sender        TEXT    NOT NULL,
    content       TEXT    NOT NULL,
    created_at_ms INTEGER NOT NULL
) STRICT;
-- What failed, by its key: a retry of it says nothing new. (A unique index on `key` would cost more than all other writing.)
CREATE INDEX message_failed ON message (idempotency_key, sender) WHERE state = 'failed' AND idempotency_key IS NOT NULL;

-- The full text of memory, https://sqlite.org/fts5.html. Rows are put into it in the background, in the order of their ids; the
-- triggers keep what is in it in step with edits.
CREATE VIRTUAL TABLE memory_text USING fts5 (
    content, content = 'memory', content_rowid = 'id', tokenize = 'unicode61 remove_diacritics 2'
);
-- How far the full text of memory has come.
CREATE TABLE memory_progress (
    only       INTEGER PRIMARY KEY DEFAULT 1,
    indexed_to INTEGER NOT NULL, -- the last memory.id whose text can be searched
    CONSTRAINT memory_progress_is_one_row CHECK (only = 1)
) STRICT;
INSERT INTO memory_progress (indexed_to) VALUES (0);

-- Whether a row is in the full text is what memory_text_docsize says, whatever memory_progress says. An id that is used again,
-- after the newest rows were deleted, has been passed already.
CREATE TRIGGER memory_inserted AFTER INSERT ON memory
WHEN new.id <= (SELECT indexed_to FROM memory_progress) BEGIN
    INSERT INTO memory_text (rowid, content)
    SELECT new.id, new.content WHERE NOT EXISTS (SELECT 1 FROM memory_text_docsize AS d WHERE d.id = new.id);
END;
CREATE TRIGGER memory_deleted AFTER DELETE ON memory
WHEN EXISTS (SELECT 1 FROM memory_text_docsize AS d WHERE d.id = old.id) BEGIN
    INSERT INTO memory_text (memory_text, rowid, content) VALUES ('delete', old.id, old.content);
END;
CREATE TRIGGER memory_updated AFTER UPDATE OF content ON memory
WHEN EXISTS (SELECT 1 FROM memory_text_docsize AS d WHERE d.id = old.id) BEGIN
    INSERT INTO memory_text (memory_text, rowid, content) VALUES ('delete', old.id, old.content);
    INSERT INTO memory_text (rowid, content) VALUES (new.id, new.content);
END;
CREATE TRIGGER memory_id_is_fixed BEFORE UPDATE OF id ON memory WHEN new.id <> old.id BEGIN
    SELECT RAISE(ABORT, 'memory.id does not change: insert a new row');
END;

CREATE VIEW v_memory AS
SELECT id, strftime('%Y-%m-%dT%H:%M:%fZ', created_at_ms / 1000.0, 'unixepoch') AS created_at,
       key, category, channel, sender, substr(content, 1, 60) AS content_starts,
       id <= (SELECT indexed_to FROM memory_progress) AS can_be_searched
FROM memory;

CREATE VIEW v_memory_progress AS
SELECT indexed_to, (SELECT count(*) FROM memory WHERE id > indexed_to) AS still_to_do FROM memory_progress;

DROP VIEW v_message;
CREATE VIEW v_message AS
SELECT id, strftime('%Y-%m-%dT%H:%M:%fZ', received_at_ms / 1000.0, 'unixepoch') AS received_at,
       channel, sender, conversation_id, idempotency_key, platform_id, state, error_class, attempts,
       CASE WHEN state = 'accepted' AND next_attempt_at_ms > unixepoch() * 1000
            THEN 'in ' || ((next_attempt_at_ms - unixepoch() * 1000 + 999) / 1000) || ' s' END AS next_attempt,
       provider, model, provider_calls, provider_ms, prompt_tokens, completion_tokens,
       finished_at_ms - received_at_ms AS took_ms, substr(text, 1, 60) AS text_starts, substr(answer, 1, 60) AS answer_starts
FROM message;

DROP VIEW v_conversation;
CREATE VIEW v_conversation AS
SELECT c.id, c.channel, c.sender, c.room,
       strftime('%Y-%m-%dT%H:%M:%fZ', c.started_at_ms / 1000.0, 'unixepoch') AS started_at,
       (SELECT count(*) FROM message AS m
        WHERE m.conversation_id = c.id AND m.state = 'answered' AND m.text <> '' AND m.answer <> '') AS turns,
       (SELECT count(*) FROM message AS m WHERE m.conversation_id = c.id AND m.state IN ('accepted', 'running')) AS waiting,
       (SELECT count(*) FROM delivery AS d WHERE d.conversation_id = c.id AND d.state = 'due') AS replies_due
FROM conversation AS c;

-- What the models took, by day (UTC), provider and model.
CREATE VIEW v_usage AS
SELECT strftime('%Y-%m-%d', received_at_ms / 1000.0, 'unixepoch') AS day, provider, model,
       count(*) AS turns, count(*) FILTER (WHERE state = 'answered') AS answered, sum(provider_calls) AS calls,
       sum(prompt_tokens) AS prompt_tokens, sum(completion_tokens) AS completion_tokens,
       CAST(avg(provider_ms) AS INTEGER) AS mean_ms, max(provider_ms) AS longest_ms
FROM message WHERE provider IS NOT NULL GROUP BY 1, 2, 3;
