-- Mapping again what is there. An instance that waits for it carries the replay's id; its state stays what it is.

-- name: insert_replay
INSERT INTO replay (asked_at, scope) VALUES (:now, :scope) RETURNING id

-- name: in_scope
-- What was read before; of several contents of a UID each has a record of its own.
SELECT i.id FROM instance i JOIN series s ON s.id = i.series_id JOIN record r ON r.instance_id = i.id
WHERE i.id > :after AND i.state NOT IN ('received', 'shadowed', 'quarantined')
  AND (:study = '' OR s.study_uid = :study) AND i.day >= :day
ORDER BY i.id LIMIT :limit

-- name: set_aside_in_scope
SELECT i.id, i.state FROM instance i JOIN series s ON s.id = i.series_id
WHERE i.state IN ('shadowed', 'quarantined') AND (:study = '' OR s.study_uid = :study) AND i.day >= :day ORDER BY i.id

-- name: again
-- What is in shadow is judged anew: other mappings may be in force.
UPDATE instance SET state = 'received', held_for = NULL, reason = NULL, crashes = 0, lease_until = NULL
WHERE id = :id AND state = 'shadowed'

-- name: mark
UPDATE instance SET replay = :replay, crashes = 0, lease_until = NULL WHERE id IN :ids

-- name: count_marked
UPDATE replay SET total = total + :n WHERE id = :id

-- name: lease
UPDATE instance SET lease_token = lease_token + 1, lease_until = :until
WHERE id IN (
  SELECT id FROM instance
  WHERE replay IS NOT NULL AND state <> 'received' AND (lease_until IS NULL OR lease_until < :now)
  ORDER BY id LIMIT :limit /*skip_locked*/
)
RETURNING id

-- name: pending
SELECT 1 FROM instance WHERE replay IS NOT NULL LIMIT 1

-- name: held
-- Still ours, with what was read before.
SELECT i.id, i.lease_token, i.replay, i.state, sh.key, sh.patient_key, r.fields, r.issues
FROM instance i JOIN record r ON r.instance_id = i.id JOIN shared sh ON sh.id = r.shared_id
WHERE i.id IN :ids AND i.replay IS NOT NULL

-- name: done
UPDATE instance SET replay = NULL, lease_until = NULL WHERE id = :id

-- name: changed
UPDATE replay SET changed = changed + :n WHERE id = :id

-- name: insert_problem
INSERT INTO replay_problem (replay_id, instance_id, reason) VALUES (:replay, :id, :reason) ON CONFLICT DO NOTHING

-- name: progress
SELECT p.total, p.changed, p.asked_at, p.scope,
  (SELECT COUNT(*) FROM instance i WHERE i.replay IS NOT NULL AND i.replay = p.id) AS waiting,
  (SELECT COUNT(*) FROM replay_problem f WHERE f.replay_id = p.id) AS problems
FROM replay p WHERE p.id = :id

-- name: problems
SELECT reason, COUNT(*) AS objects FROM replay_problem WHERE replay_id = :id GROUP BY reason ORDER BY COUNT(*) DESC, reason

-- name: subjects_open
-- Studies in scope that are still to be sealed after a replay, and everything that is open.
SELECT (SELECT COUNT(*) FROM study WHERE next_quiet_at <= :now) + (SELECT COUNT(*) FROM dossier WHERE next_quiet_at <= :now) AS n

-- name: versions_since
SELECT kind, COUNT(*) AS n FROM subject_version WHERE sealed_at >= :since GROUP BY kind

-- name: studies_in_scope
SELECT DISTINCT s.study_uid FROM instance i JOIN series s ON s.id = i.series_id JOIN record r ON r.instance_id = i.id
WHERE (:study = '' OR s.study_uid = :study) AND i.day >= :day ORDER BY s.study_uid

-- name: examples
-- One object for each distinct header of the latest studies: what a change of mappings is tried on.
SELECT MIN(i.id) AS id, sh.study_uid FROM shared sh JOIN record r ON r.shared_id = sh.id JOIN instance i ON i.id = r.instance_id
WHERE sh.study_uid IN (
  SELECT st.uid FROM study st JOIN series s2 ON s2.study_uid = st.uid JOIN instance i2 ON i2.series_id = s2.id
  GROUP BY st.uid ORDER BY MAX(i2.id) DESC LIMIT :studies
)
GROUP BY sh.id, sh.study_uid ORDER BY MIN(i.id)
