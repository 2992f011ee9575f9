-- Backfills: what of the past was asked for, and how far it has come.

-- name: ask
-- The same once more goes on where it stopped.
INSERT INTO backfill (source, from_day, to_day, modalities, asked_at) VALUES (:source, :from_day, :to_day, :modalities, :now)
ON CONFLICT (source, from_day, to_day, modalities) DO UPDATE SET asked_at = excluded.asked_at, problem = NULL
RETURNING id, listed_day

-- name: add_study
INSERT INTO backfill_study (backfill_id, study_uid, day, handle) VALUES (:id, :study_uid, :day, :handle) ON CONFLICT DO NOTHING

-- name: listed
UPDATE backfill SET listed_day = :day, worked_at = :now WHERE id = :id

-- name: next_study
SELECT study_uid, handle, day FROM backfill_study WHERE backfill_id = :id AND state = 'pending' ORDER BY day DESC, study_uid LIMIT 1

-- name: end_study
UPDATE backfill_study SET state = :state, objects = :objects, refused = :refused, reason = :reason WHERE backfill_id = :id AND study_uid = :study_uid

-- name: worked
UPDATE backfill SET worked_at = :now, problem = :problem WHERE id = :id

-- name: try_failed_again
UPDATE backfill_study SET state = 'pending', reason = NULL WHERE backfill_id = :id AND state = 'failed'

-- name: listing
SELECT b.id, b.source, b.from_day, b.to_day, b.modalities, b.listed_day, b.worked_at, b.problem,
  COUNT(s.study_uid) AS studies, COALESCE(SUM(s.objects), 0) AS objects, COALESCE(SUM(s.refused), 0) AS refused,
  COALESCE(SUM(CASE WHEN s.state = 'done' THEN 1 ELSE 0 END), 0) AS done,
  COALESCE(SUM(CASE WHEN s.state = 'failed' THEN 1 ELSE 0 END), 0) AS failed
FROM backfill b LEFT JOIN backfill_study s ON s.backfill_id = b.id
GROUP BY b.id, b.source, b.from_day, b.to_day, b.modalities, b.listed_day, b.worked_at, b.problem ORDER BY b.id DESC
