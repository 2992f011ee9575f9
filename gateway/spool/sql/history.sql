-- Which mappings are and were in force. Rows are inserted and never changed; the newest one holds.

-- name: in_force
SELECT id, version, kind, since, put_by, reason FROM mappings_in_force ORDER BY id DESC LIMIT 1

-- name: listed
SELECT id, version, kind, since, put_by, reason FROM mappings_in_force ORDER BY id DESC LIMIT :limit

-- name: put
-- Only if nothing else was put in force since the caller looked. Two who try at once get the same id, and one of them fails.
INSERT INTO mappings_in_force (id, version, kind, since, put_by, reason)
SELECT CAST(:next_id AS BIGINT), CAST(:version AS TEXT), CAST(:kind AS TEXT), CAST(:since AS DOUBLE PRECISION), CAST(:put_by AS TEXT),
       CAST(:reason AS TEXT)
WHERE COALESCE((SELECT MAX(id) FROM mappings_in_force), 0) = :after_id
ON CONFLICT DO NOTHING
