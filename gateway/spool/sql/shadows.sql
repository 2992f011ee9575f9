-- What is mapped and shown, but not published until a person approves its scanner or its mapping.

-- name: insert_scanner
INSERT INTO scanner (key, manufacturer, model, serial, station, first_at, approved_at, approved_by, reason)
VALUES (:key, :manufacturer, :model, :serial, :station, :now, :approved_at, :approved_by, :reason)
ON CONFLICT (key) DO NOTHING

-- name: known_scanner
SELECT id, approved_at FROM scanner WHERE key = :key

-- name: look_at_scanner
-- Written, not only read: who approves at this moment waits for us, or we for them.
UPDATE scanner SET first_at = first_at WHERE id = :id RETURNING approved_at

-- name: insert_mapping
INSERT INTO mapping_approval (mapping, mapping_version) VALUES (:mapping, :version) ON CONFLICT DO NOTHING

-- name: look_at_mapping
UPDATE mapping_approval SET mapping = mapping WHERE mapping = :mapping AND mapping_version = :version RETURNING approved_at

-- name: approve_scanner
UPDATE scanner SET approved_at = :now, approved_by = :by, reason = :reason WHERE id = :id AND approved_at IS NULL

-- name: approve_mapping
UPDATE mapping_approval SET approved_at = :now, approved_by = :by, reason = :reason
WHERE mapping = :mapping AND mapping_version = :version AND approved_at IS NULL

-- name: release
-- They are worked on as if they had just come: read by the mapping in force, judged anew, published.
UPDATE instance SET state = 'received', held_for = NULL, reason = NULL, crashes = 0, lease_until = NULL
WHERE state = 'shadowed' AND held_for = :held_for

-- name: scanner
SELECT id, manufacturer, model, serial, station, first_at, approved_at, approved_by, reason FROM scanner WHERE id = :id

-- name: scanners
-- Those that wait for a person first.
SELECT id, manufacturer, model, serial, station, first_at, approved_at, approved_by, reason FROM scanner
ORDER BY CASE WHEN approved_at IS NULL THEN 0 ELSE 1 END, id DESC LIMIT :limit

-- name: held
-- What is in shadow, by what it waits for.
SELECT i.held_for, COUNT(*) AS objects, COUNT(DISTINCT s.study_uid) AS studies, MIN(i.day) AS since
FROM instance i JOIN series s ON s.id = i.series_id WHERE i.state = 'shadowed' GROUP BY i.held_for ORDER BY i.held_for

-- name: studies_held
SELECT s.study_uid, COUNT(*) AS objects FROM instance i JOIN series s ON s.id = i.series_id
WHERE i.state = 'shadowed' AND i.held_for = :held_for GROUP BY s.study_uid ORDER BY MAX(i.id) DESC LIMIT :limit
