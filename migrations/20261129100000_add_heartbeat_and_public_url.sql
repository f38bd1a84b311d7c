-- A run shows that it lives, and where the world reaches it.

ALTER TABLE server_run ADD COLUMN heartbeats INTEGER NOT NULL DEFAULT 0 /* how often it wrote here that it lives, and read it again */;
ALTER TABLE server_run ADD COLUMN heartbeat_at_ms INTEGER /* when it did so last */;
ALTER TABLE server_run ADD COLUMN public_url TEXT /* where its tunnel is reached; NULL: there is none, or it is down */;

DROP VIEW v_server_run;
CREATE VIEW v_server_run AS
SELECT id, strftime('%Y-%m-%dT%H:%M:%fZ', started_at_ms / 1000.0, 'unixepoch') AS started_at,
       strftime('%Y-%m-%dT%H:%M:%fZ', stopped_at_ms / 1000.0, 'unixepoch') AS stopped_at, pid, version,
       CASE WHEN stopped_at_ms IS NOT NULL THEN 'stopped'
            WHEN id = (SELECT max(id) FROM server_run) THEN 'running or killed' ELSE 'killed' END AS state,
       heartbeats, strftime('%Y-%m-%dT%H:%M:%fZ', heartbeat_at_ms / 1000.0, 'unixepoch') AS heartbeat_at, public_url
FROM server_run;
