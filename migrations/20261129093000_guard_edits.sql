-- What an edit by hand must not do is refused, with a sentence that says why. These rules are about what a row is, and which
-- states follow which; what a single row must hold is in the CHECKs of the tables.
--
-- They cost requests nothing: no insert has a trigger, and no statement of the server changes what a row is. A change of state is
-- looked at once, by what the row holds already. AFTER is cheaper than BEFORE: SQLite need not look for the row again.

-- A message is who said what where; what becomes of it is its state.
CREATE TRIGGER message_is_fixed
AFTER UPDATE OF id, channel, sender, idempotency_key, conversation_id, platform_id ON message
WHEN new.id <> old.id OR new.channel <> old.channel OR new.sender <> old.sender
  OR new.idempotency_key IS NOT old.idempotency_key OR new.conversation_id IS NOT old.conversation_id
  OR new.platform_id IS NOT old.platform_id
BEGIN
    SELECT RAISE(ABORT, 'a message stays what it is: its id, channel, sender, key, conversation and platform id do not change');
END;
CREATE TRIGGER message_state_follows
AFTER UPDATE OF state ON message
WHEN old.state <> 'running' AND new.state <> old.state
 AND NOT (old.state = 'accepted' AND new.state IN ('running', 'failed', 'interrupted'))
 AND NOT (old.state = 'failed' AND new.state = 'accepted' AND old.channel <> 'webhook')
BEGIN
    SELECT RAISE(ABORT, 'a message that is answered or interrupted stays so, and so does one of /webhook that failed; one of a channel that failed may be accepted again');
END;
CREATE TRIGGER message_is_finished_with_its_state
AFTER UPDATE OF state, finished_at_ms ON message
WHEN (new.finished_at_ms IS NULL) <> (new.state IN ('accepted', 'running'))
BEGIN
    SELECT RAISE(ABORT, 'finished_at_ms of a message is NULL while it is accepted or running, and then the time of its end');
END;

-- A part of a reply belongs to one message and goes to one conversation.
CREATE TRIGGER delivery_is_fixed
AFTER UPDATE OF id, message_id, conversation_id, kind, part, parts ON delivery
WHEN new.id <> old.id OR new.message_id <> old.message_id OR new.conversation_id <> old.conversation_id
  OR new.kind <> old.kind OR new.part <> old.part OR new.parts <> old.parts
BEGIN
    SELECT RAISE(ABORT, 'a delivery stays with its message and its conversation, and the part that it is');
END;
CREATE TRIGGER delivery_state_follows
AFTER UPDATE OF state ON delivery
WHEN old.state <> 'due' AND new.state <> old.state AND NOT (old.state = 'dead' AND new.state = 'due')
BEGIN
    SELECT RAISE(ABORT, 'a delivery that was sent stays so; one that is dead may be due again');
END;

-- Replies go where the conversation is.
CREATE TRIGGER conversation_is_fixed
AFTER UPDATE OF id, channel, sender, room ON conversation
WHEN new.id <> old.id OR new.channel <> old.channel OR new.sender <> old.sender OR new.room <> old.room
BEGIN
    SELECT RAISE(ABORT, 'a conversation stays where it is: its id, channel, sender and room do not change');
END;

-- Keys, limits and messages name a token by its id.
CREATE TRIGGER token_is_fixed
AFTER UPDATE OF id, token_hash, source ON token
WHEN new.id <> old.id OR new.token_hash <> old.token_hash OR new.source <> old.source
BEGIN
    SELECT RAISE(ABORT, 'a token keeps its id, hash and source: revoke it, and make another one');
END;
CREATE TRIGGER token_import_is_a_hash
AFTER INSERT ON token_import
WHEN length(new.token_hash) <> 64 OR new.token_hash GLOB '*[^0-9a-f]*'
BEGIN
    SELECT RAISE(ABORT, 'token_import.token_hash is a SHA-256 in 64 lowercase hex digits');
END;
CREATE TRIGGER token_import_is_fixed
AFTER UPDATE OF token_hash ON token_import
WHEN new.token_hash <> old.token_hash
BEGIN
    SELECT RAISE(ABORT, 'token_import.token_hash does not change: insert a new row');
END;

-- A code is good once.
CREATE TRIGGER pairing_code_is_hashed
AFTER INSERT ON pairing_code
WHEN length(new.salt) <> 16 OR length(new.code_hash) <> 32
BEGIN
    SELECT RAISE(ABORT, 'a pairing code has a salt of 16 bytes and a hash of 32: moorgate pair makes one');
END;
CREATE TRIGGER pairing_code_is_fixed
AFTER UPDATE OF id, salt, code_hash ON pairing_code
WHEN new.id <> old.id OR new.salt <> old.salt OR new.code_hash <> old.code_hash
BEGIN
    SELECT RAISE(ABORT, 'a pairing code keeps its id, salt and hash: moorgate pair makes another one');
END;
CREATE TRIGGER pairing_code_is_spent_for_good
AFTER UPDATE OF state ON pairing_code
WHEN old.state <> 'live' AND new.state <> old.state
BEGIN
    SELECT RAISE(ABORT, 'a pairing code that was spent or withdrawn stays so: moorgate pair makes another one');
END;

-- What a key stands for is not exchanged. (A key that has expired, or whose message was deleted, is written anew for another one.)
CREATE TRIGGER idempotency_key_is_fixed
AFTER UPDATE OF owner, key ON idempotency_key
WHEN new.owner <> old.owner OR new.key <> old.key
BEGIN
    SELECT RAISE(ABORT, 'an idempotency key keeps its owner and its name: delete it');
END;
CREATE TRIGGER idempotency_key_stays_answered
AFTER UPDATE OF state, message_id ON idempotency_key
WHEN old.state = 'answered'
 AND (new.state <> 'answered' AND EXISTS (
          SELECT 1 FROM message AS m
          WHERE m.id = new.message_id AND m.sender = new.owner AND m.idempotency_key = new.key AND m.state = 'answered')
      OR new.message_id <> old.message_id AND new.answered_at_ms IS old.answered_at_ms AND EXISTS (
          SELECT 1 FROM message AS m
          WHERE m.id = old.message_id AND m.sender = old.owner AND m.idempotency_key = old.key))
BEGIN
    SELECT RAISE(ABORT, 'an idempotency key that was answered stands for its message: delete it, and the next request is answered anew');
END;

-- Messages and deliveries name the run that is at work on them.
CREATE TRIGGER server_run_is_fixed
AFTER UPDATE OF id ON server_run
WHEN new.id <> old.id
BEGIN
    SELECT RAISE(ABORT, 'server_run.id does not change: messages and deliveries name it');
END;
