-- Mapping again what is there. An instance that waits for it carries the replay's id; its state stays what it is.

-- name: insert_replay
INSERT INTO replay (asked_at, scope) VALUES (:now, :scope) RETURNING id

-- name: mark
-- What was read before; of several contents of a UID each has a record of its own.
UPDATE instance SET replay = :replay, crashes = 0, lease_until = NULL WHERE id IN (
  SELECT i.id FROM instance i JOIN series s ON s.id = i.series_id JOIN record r ON r.instance_id = i.id
  WHERE i.state NOT IN ('received', 'shadowed', 'quarantined') AND (:study = '' OR s.study_uid = :study) AND i.day >= :day
)

-- name: judge_anew
-- What is in shadow is judged anew: other mappings may be in force.
UPDATE instance SET replay = :replay, state = 'received', held_for = NULL, reason = NULL, crashes = 0, lease_until = NULL
WHERE state = 'shadowed' AND id IN (
  SELECT i.id FROM instance i JOIN series s ON s.id = i.series_id
  WHERE i.state = 'shadowed' AND (:study = '' OR s.study_uid = :study) AND i.day >= :day
)

-- name: read_anew
-- What the reader set aside: other mappings may understand it. What the door refused was never leased; its bytes are damaged.
-- Of several contents of one UID only one can be worked on.
UPDATE instance SET replay = :replay, state = 'received', reason = NULL, crashes = 0, lease_until = NULL
WHERE state = 'quarantined' AND lease_token > 0 AND sop_instance_uid <> '' AND id IN (
  SELECT i.id FROM instance i JOIN series s ON s.id = i.series_id
  WHERE i.state = 'quarantined' AND (:study = '' OR s.study_uid = :study) AND i.day >= :day
) AND NOT EXISTS (
  SELECT 1 FROM instance other WHERE other.sop_instance_uid = instance.sop_instance_uid AND (
    other.state IN ('received', 'normalised', 'shadowed') OR other.held_for = 'patient'
    OR other.state = 'quarantined' AND other.lease_token > 0 AND other.day >= :day AND other.id < instance.id
  )
)

-- name: note_studies
INSERT INTO replay_study (replay_id, study_uid)
SELECT DISTINCT i.replay, s.study_uid FROM instance i JOIN series s ON s.id = i.series_id WHERE i.replay IS NOT NULL AND i.replay = :replay

-- name: note_total
UPDATE replay SET total = :total WHERE id = :replay

-- name: lease
UPDATE instance SET lease_token = lease_token + 1, lease_until = :until
WHERE id IN (
  SELECT id FROM instance
  WHERE replay IS NOT NULL AND state <> 'received' AND (lease_until IS NULL OR lease_until < :now)
  ORDER BY id LIMIT :limit /*skip_locked*/
)
RETURNING id

-- name: pending
SELECT 1 FROM instance WHERE replay IS NOT NULL AND state <> 'received' LIMIT 1

-- name: held
-- Still ours, with what was read before.
SELECT i.id, i.lease_token, i.replay, i.state, i.held_for, sh.key, sh.patient_key, r.fields, r.issues
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
-- Of this replay's studies and their patients, what is due to be gathered. What could not be gathered is told as a problem.
SELECT (
  SELECT COUNT(*) FROM replay_study rs JOIN study st ON st.uid = rs.study_uid
  WHERE rs.replay_id = :id AND st.next_quiet_at <= :now AND st.problem IS NULL
) + (
  SELECT COUNT(*) FROM dossier d WHERE d.next_quiet_at <= :now AND d.problem IS NULL AND d.patient_key IN (
    SELECT sh.patient_key FROM replay_study rs JOIN shared sh ON sh.study_uid = rs.study_uid WHERE rs.replay_id = :id
  )
) AS n

-- name: versions_of
-- What was sealed of this replay's studies and their patients since it was asked for.
SELECT v.kind, COUNT(*) AS n FROM subject_version v
WHERE v.sealed_at >= (SELECT p.asked_at FROM replay p WHERE p.id = :id) AND (
  v.kind = 'study' AND v.subject_key IN (SELECT rs.study_uid FROM replay_study rs WHERE rs.replay_id = :id)
  OR v.kind = 'dossier' AND v.subject_key IN (
    SELECT sh.patient_key FROM replay_study rs JOIN shared sh ON sh.study_uid = rs.study_uid WHERE rs.replay_id = :id
  )
)
GROUP BY v.kind

-- name: studies_in_scope
-- Of which something was read, or was set aside by the reader, or waits for approval.
SELECT DISTINCT s.study_uid FROM instance i JOIN series s ON s.id = i.series_id
WHERE (:study = '' OR s.study_uid = :study) AND i.day >= :day AND (
  i.state = 'shadowed' OR i.state = 'quarantined' AND i.lease_token > 0 AND i.sop_instance_uid <> ''
  OR i.state <> 'received' AND EXISTS (SELECT 1 FROM record r WHERE r.instance_id = i.id)
)
ORDER BY s.study_uid

-- name: set_aside
-- Of one study, what the reader set aside and what waits for the approval of its mapping.
SELECT i.id FROM instance i JOIN series s ON s.id = i.series_id
WHERE s.study_uid = :study AND i.day >= :day AND (
  i.state = 'quarantined' AND i.lease_token > 0 AND i.sop_instance_uid <> '' OR i.state = 'shadowed' AND i.held_for LIKE 'mapping:%'
)
ORDER BY i.id

-- name: examples
-- One object for each distinct header of the latest studies: what a change of mappings is tried on.
SELECT MIN(i.id) AS id, sh.study_uid FROM shared sh JOIN record r ON r.shared_id = sh.id JOIN instance i ON i.id = r.instance_id
WHERE sh.study_uid IN (
  SELECT st.uid FROM study st JOIN series s2 ON s2.study_uid = st.uid JOIN instance i2 ON i2.series_id = s2.id
  GROUP BY st.uid ORDER BY MAX(i2.id) DESC LIMIT :studies
)
GROUP BY sh.id, sh.study_uid ORDER BY MIN(i.id)
