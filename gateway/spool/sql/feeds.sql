-- Sources that are followed: how far their log of changes was read.

-- name: ask
-- The same once more goes on where it stopped.
INSERT INTO feed (source, from_day, to_day, modalities, asked_at) VALUES (:source, :from_day, :to_day, :modalities, :now)
ON CONFLICT (source, from_day, to_day, modalities) DO UPDATE SET asked_at = excluded.asked_at
RETURNING id, cursor, recent

-- name: advance
UPDATE feed SET cursor = :cursor, recent = :recent, newest = :newest, objects = objects + :objects, refused = refused + :refused,
  gone = gone + :gone, worked_at = :now, problem = NULL
WHERE id = :id

-- name: turn_back
UPDATE feed SET cursor = :cursor, recent = :recent, turned_back = turned_back + 1, worked_at = :now WHERE id = :id

-- name: failed
INSERT INTO feed_failed (feed_id, handle, reason) VALUES (:id, :handle, :reason)
ON CONFLICT (feed_id, handle) DO UPDATE SET reason = excluded.reason

-- name: mended
DELETE FROM feed_failed WHERE feed_id = :id AND handle = :handle

-- name: failed_handles
SELECT handle FROM feed_failed WHERE feed_id = :id ORDER BY handle

-- name: problem
UPDATE feed SET problem = :problem WHERE id = :id

-- name: listing
SELECT f.id, f.source, f.from_day, f.to_day, f.modalities, f.cursor, f.newest, f.objects, f.refused, f.gone, f.turned_back, f.worked_at,
  f.problem, (SELECT COUNT(*) FROM feed_failed x WHERE x.feed_id = f.id) AS failed
FROM feed f ORDER BY f.id DESC
