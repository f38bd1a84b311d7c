-- What a message says goes into memory in the background, as the words of memory go into its full text: no sender waits until its
-- message has been written twice.

ALTER TABLE message ADD COLUMN to_remember INTEGER /* 1: what it says goes into memory, see memory_progress; 0: it does not; NULL: it came before this column, or by hand, and is left alone */;

INSERT OR IGNORE INTO memory_progress (only, indexed_to) VALUES (1, 0); -- it may have been deleted by hand
ALTER TABLE memory_progress ADD COLUMN remembered_to INTEGER NOT NULL DEFAULT 0 /* the last message.id that memory was told of */;
UPDATE memory_progress SET remembered_to = coalesce((SELECT max(id) FROM message), 0);

DROP VIEW v_memory_progress;
CREATE VIEW v_memory_progress AS
SELECT remembered_to, indexed_to,
       (SELECT count(*) FROM message WHERE id > remembered_to AND to_remember = 1 AND text <> '')
       + (SELECT count(*) FROM memory WHERE id > indexed_to) AS still_to_do
FROM memory_progress;

-- What was said once is remembered once.
CREATE TRIGGER memory_progress_goes_on
AFTER UPDATE OF remembered_to ON memory_progress
WHEN EXISTS (SELECT 1 FROM message WHERE id > new.remembered_to AND id <= old.remembered_to AND to_remember = 1)
BEGIN
    SELECT RAISE(ABORT, 'memory_progress.remembered_to does not go back: what was said would be remembered twice');
END;
CREATE TRIGGER memory_progress_stays
BEFORE DELETE ON memory_progress
BEGIN
    SELECT RAISE(ABORT, 'memory_progress keeps its row: it says how far memory and its full text have come');
END;
CREATE TRIGGER memory_progress_is_not_replaced
BEFORE INSERT ON memory_progress
BEGIN
    SELECT RAISE(ABORT, 'memory_progress has its row: update it');
END;
