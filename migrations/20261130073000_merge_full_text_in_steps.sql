-- FTS5 merges the parts of its index while it is written, and mostly with one writing in many, which then takes tens of milliseconds
-- (https://sqlite.org/fts5.html#the_automerge_configuration_option). The gateway merges a little with each writing instead.
INSERT INTO memory_text (memory_text, rank) VALUES ('automerge', 0);
