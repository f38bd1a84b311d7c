-- Where a key is on record, memory knows to the message: no index is asked any more. Keys are random texts, and the index had a
-- page of its own to write for most of them.
DROP INDEX idempotency_key_part;
