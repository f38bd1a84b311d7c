-- The newest run is the server that is at work, or the last one that was. What is at work names it, its heartbeat is written into
-- it, and the next start learns from it what time it was. Older runs may be deleted.
CREATE TRIGGER server_run_keeps_the_newest
BEFORE DELETE ON server_run
WHEN old.id = (SELECT max(id) FROM server_run)
BEGIN
    SELECT RAISE(ABORT, 'the newest server_run stays: it is the server at work, or the last one that was; older ones may be deleted');
END;
