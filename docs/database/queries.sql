-- Twenty ready queries. Each is a sentence in a comment and one statement; they are in docs/DATABASE.md too, and a test runs
-- each of them on a server at work.

-- Which clients may post.
SELECT id, label, source, state, created_at, expires_at FROM v_token ORDER BY id;

-- How much each client posted in the last day.
SELECT t.id, t.label, count(*) AS messages, count(*) FILTER (WHERE m.state = 'answered') AS answered,
       strftime('%Y-%m-%dT%H:%M:%SZ', max(m.received_at_ms) / 1000, 'unixepoch') AS last_at
FROM message AS m JOIN token AS t ON m.sender = 'token:' || t.id
WHERE m.received_at_ms > (unixepoch() - 86400) * 1000
GROUP BY t.id ORDER BY messages DESC;

-- Who sent wrong codes, and is locked out for how long.
SELECT client, state, lockouts_in_a_day, locked_at, locked_until FROM v_pairing_lockout ORDER BY locked_until DESC;

-- Which pairing codes there are, and which token each was redeemed for.
SELECT id, label, state, failed_attempts, issued_at, expires_at, token_id FROM v_pairing_code ORDER BY id DESC;

-- Who uses most of the rate limits just now.
SELECT scope, token_id, address, hits_in_60_s, last_at FROM v_rate_hit ORDER BY hits_in_60_s DESC LIMIT 20;

-- What came in lately, and what became of it.
SELECT id, received_at, channel, sender, state, error_class, took_ms, text_starts, answer_starts
FROM v_message ORDER BY id DESC LIMIT 20;

-- How many messages there are, by channel and state.
SELECT channel, state, count(*) AS messages FROM message GROUP BY channel, state ORDER BY channel, state;

-- What waits for an answer or is at work, the oldest first.
SELECT id, received_at, channel, sender, state, attempts, next_attempt, error_class, text_starts
FROM v_message WHERE state IN ('accepted', 'running') ORDER BY id LIMIT 100;

-- Why messages failed in the last day.
SELECT channel, error_class, count(*) AS messages,
       strftime('%Y-%m-%dT%H:%M:%SZ', max(finished_at_ms) / 1000, 'unixepoch') AS last_at
FROM message WHERE state IN ('failed', 'interrupted') AND finished_at_ms > (unixepoch() - 86400) * 1000
GROUP BY channel, error_class ORDER BY messages DESC;

-- How many messages came in each minute of the last hour, and how long the answers took.
SELECT strftime('%H:%M', received_at_ms / 1000, 'unixepoch') AS minute, count(*) AS messages,
       CAST(avg(finished_at_ms - received_at_ms) AS INTEGER) AS mean_ms, max(finished_at_ms - received_at_ms) AS longest_ms
FROM message WHERE received_at_ms > (unixepoch() - 3600) * 1000
GROUP BY received_at_ms / 60000 ORDER BY received_at_ms / 60000;

-- Which answers of the last day took longest, and how often providers were called for them.
SELECT id, received_at, channel, provider, model, provider_calls, provider_ms, prompt_tokens, completion_tokens
FROM v_message WHERE provider IS NOT NULL AND received_at > strftime('%Y-%m-%dT%H:%M:%fZ', 'now', '-1 day')
ORDER BY provider_ms DESC LIMIT 10;

-- What the models took in the last week, by day.
SELECT day, provider, model, turns, answered, calls, prompt_tokens, completion_tokens, mean_ms, longest_ms
FROM v_usage WHERE day > strftime('%Y-%m-%d', 'now', '-7 days') ORDER BY day, provider, model;

-- What was said in a conversation: 1 is its id.
SELECT id, strftime('%Y-%m-%dT%H:%M:%SZ', received_at_ms / 1000, 'unixepoch') AS received_at, state, text, answer
FROM message WHERE conversation_id = 1 ORDER BY id;

-- Which conversations wait, for an answer or for their replies.
SELECT id, channel, sender, room, turns, waiting, replies_due FROM v_conversation
WHERE waiting > 0 OR replies_due > 0 ORDER BY waiting + replies_due DESC LIMIT 20;

-- Which replies have not gone out, and why.
SELECT id, message_id, channel, sender, part, state, attempts, error_class, created_at, text_starts
FROM v_delivery WHERE state <> 'sent' ORDER BY id LIMIT 100;

-- Which replies may be there twice, since nobody learned whether they had arrived.
SELECT id, message_id, channel, sender, part, state, in_doubt, platform_id, created_at
FROM v_delivery WHERE in_doubt > 0 ORDER BY id DESC LIMIT 20;

-- How long users waited from their message to the end of its reply in the last day, by channel, and how much of it was read.
SELECT m.channel, count(DISTINCT m.id) AS messages, count(*) AS parts,
       CAST(avg(d.finished_at_ms - m.received_at_ms) AS INTEGER) AS mean_ms, max(d.finished_at_ms - m.received_at_ms) AS longest_ms,
       count(*) FILTER (WHERE d.status = 'read') AS read
FROM delivery AS d JOIN message AS m ON m.id = d.message_id
WHERE d.state = 'sent' AND d.created_at_ms > (unixepoch() - 86400) * 1000
GROUP BY m.channel ORDER BY m.channel;

-- Which idempotency keys are in use, and what their first request came to.
SELECT k.owner, k.key, k.state, k.message_id, k.answered_at, m.received_at, m.text_starts
FROM v_idempotency_key AS k LEFT JOIN v_message AS m ON m.id = k.message_id
ORDER BY k.message_id DESC LIMIT 20;

-- Who said something with these words. (Texts are indexed in the background; `moorgate memory search` indexes the rest first.)
SELECT m.id, strftime('%Y-%m-%dT%H:%M:%SZ', m.created_at_ms / 1000, 'unixepoch') AS created_at, m.channel, m.sender, m.content
FROM memory_text JOIN memory AS m ON m.id = memory_text.rowid
WHERE memory_text MATCH 'red bicycle' ORDER BY rank LIMIT 20;

-- When the server was started, stopped or killed.
SELECT id, started_at, stopped_at, state, pid, version FROM v_server_run ORDER BY id DESC LIMIT 20;
