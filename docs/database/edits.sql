-- What may be edited by hand beside a running server. Each is a sentence in a comment and one statement; they are in
-- docs/DATABASE.md too, and a test makes each of them on a server at work.

-- Revoke a token: it is refused within a second.
UPDATE token SET revoked_at_ms = unixepoch() * 1000 WHERE label = 'client' AND revoked_at_ms IS NULL;

-- Let a token expire in an hour.
UPDATE token SET expires_at_ms = (unixepoch() + 3600) * 1000 WHERE id = 1;

-- Let a client that was locked out try again.
DELETE FROM pairing_lockout WHERE client = '203.0.113.7';

-- Empty a client's rate windows.
DELETE FROM rate_hit WHERE address = '203.0.113.7';

-- Withdraw all pairing codes that can still be used.
UPDATE pairing_code SET state = 'replaced' WHERE state = 'live';

-- Forget an idempotency key that was answered: the next request with it is answered anew.
DELETE FROM idempotency_key WHERE owner = 'token:1' AND key = 'order-1' AND state = 'answered';

-- Send a reply that was given up again: all its parts that did not go out.
UPDATE delivery SET state = 'due', attempts = 0, next_attempt_at_ms = NULL, error_class = NULL, finished_at_ms = NULL
WHERE message_id = 17 AND state = 'dead';

-- Work on a message of a chat platform again that failed.
UPDATE message SET state = 'accepted', attempts = 0, next_attempt_at_ms = NULL, error_class = NULL, finished_at_ms = NULL
WHERE id = 17 AND state = 'failed' AND channel <> 'webhook';
