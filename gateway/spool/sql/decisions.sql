-- Decisions of people, and what they change. Rows of `decision` are inserted and never changed.

-- name: of_studies
SELECT id, study_uid, kind, reason, decided_by, decided_at, moved, to_key, subject_key, sop_instance_uid, digest, former_digest, undoes
FROM decision WHERE study_uid IN :uids ORDER BY id

-- name: of_dossier
SELECT d.id, d.study_uid, d.kind, d.reason, d.decided_by, d.decided_at, d.moved, d.to_key, d.subject_key, d.sop_instance_uid,
  d.digest, d.former_digest, d.undoes
FROM decision d JOIN decision_dossier p ON p.decision_id = d.id WHERE p.patient_key = :patient_key ORDER BY d.id

-- name: insert_decision
INSERT INTO decision (study_uid, kind, reason, decided_by, decided_at, moved, to_key, subject_key, sop_instance_uid, digest,
  former_digest, undoes)
VALUES (:study_uid, :kind, :reason, :decided_by, :decided_at, :moved, :to_key, :subject_key, :sop_instance_uid, :digest,
  :former_digest, :undoes)
RETURNING id

-- name: insert_decision_dossier
INSERT INTO decision_dossier (decision_id, patient_key) VALUES (:decision_id, :patient_key) ON CONFLICT DO NOTHING

-- name: study_known
SELECT 1 FROM series s JOIN instance i ON i.series_id = s.id WHERE s.study_uid = :study_uid LIMIT 1

-- name: groups
-- The objects of a study that are in force, by the patient their headers name and the one that holds now.
SELECT sh.original_key, sh.patient_key, COUNT(*) AS n,
  SUM(CASE WHEN i.held_for = 'patient' THEN 1 ELSE 0 END) AS held
FROM series s JOIN instance i ON i.series_id = s.id JOIN record r ON r.instance_id = i.id JOIN shared sh ON sh.id = r.shared_id
WHERE s.study_uid = :study_uid AND (i.state = 'normalised' OR i.held_for = 'patient')
GROUP BY sh.original_key, sh.patient_key ORDER BY sh.original_key, sh.patient_key

-- name: shared_keys
SELECT DISTINCT original_key, patient_key FROM shared WHERE study_uid = :study_uid

-- name: move_shared
UPDATE shared SET patient_key = :patient_key WHERE study_uid = :study_uid AND original_key = :original_key

-- name: settle_study
UPDATE study SET decided_key = :decided_key, withdrawn = :withdrawn WHERE uid = :study_uid

-- name: release_subject
UPDATE instance SET state = 'normalised', held_for = NULL, reason = NULL
WHERE held_for = 'patient' AND id IN (
  SELECT r.instance_id FROM record r JOIN shared sh ON sh.id = r.shared_id
  WHERE sh.study_uid = :study_uid AND sh.patient_key = :subject_key
)

-- name: hold_others
UPDATE instance SET state = 'conflict', held_for = 'patient', reason = :reason
WHERE (state = 'normalised' OR held_for = 'patient') AND id IN (
  SELECT r.instance_id FROM record r JOIN shared sh ON sh.id = r.shared_id
  WHERE sh.study_uid = :study_uid AND sh.patient_key = :patient_key
)

-- name: contents
-- Every content of the SOP Instance UIDs of which this study holds more than one, or of which another study holds one too.
SELECT i.id, i.sop_instance_uid, i.digest, i.state, i.held_for, i.reason, i.size_bytes, i.day, s.study_uid, s.transfer_syntax_uid,
  CASE WHEN r.instance_id IS NULL THEN 0 ELSE 1 END AS understood
FROM instance i JOIN series s ON s.id = i.series_id LEFT JOIN record r ON r.instance_id = i.id
WHERE i.sop_instance_uid <> '' AND i.sop_instance_uid IN (
  SELECT o.sop_instance_uid FROM instance o JOIN series so ON so.id = o.series_id
  WHERE so.study_uid = :study_uid AND (o.state = 'variant' OR o.held_for IN ('content', 'comparison'))
  UNION
  SELECT o.sop_instance_uid FROM instance o JOIN series so ON so.id = o.series_id
  JOIN instance e ON e.sop_instance_uid = o.sop_instance_uid AND e.id <> o.id
  WHERE so.study_uid = :study_uid
)
ORDER BY i.sop_instance_uid, i.id

-- name: set_aside
UPDATE instance SET state = 'conflict', held_for = 'content', reason = :reason, lease_until = NULL WHERE id = :id

-- name: put_in_force
UPDATE instance SET state = 'normalised', held_for = NULL, reason = NULL, lease_until = NULL WHERE id = :id

-- name: tell_withdrawn
-- Every target that was given an image of the study hears what was decided, in the lane of the image, so after it.
INSERT INTO delivery (target, instance_id, variant, partition_key, state, created_at, next_attempt_at)
SELECT d.target, d.instance_id, 'withdrawn', MIN(d.partition_key), 'pending', CAST(:now AS DOUBLE PRECISION), CAST(:now AS DOUBLE PRECISION)
FROM delivery d JOIN instance i ON i.id = d.instance_id JOIN series s ON s.id = i.series_id
WHERE d.variant IN ('original', 'normalised') AND s.study_uid = :study_uid
GROUP BY d.target, d.instance_id
ON CONFLICT (target, instance_id, variant) DO UPDATE SET state = 'pending', attempts = 0, reason = NULL, lease_until = NULL,
  created_at = excluded.created_at, next_attempt_at = excluded.next_attempt_at, lease_token = delivery.lease_token + 1

-- name: tell_reassigned
INSERT INTO delivery (target, instance_id, variant, partition_key, state, created_at, next_attempt_at)
SELECT d.target, d.instance_id, 'reassigned', MIN(d.partition_key), 'pending', CAST(:now AS DOUBLE PRECISION), CAST(:now AS DOUBLE PRECISION)
FROM delivery d JOIN record r ON r.instance_id = d.instance_id JOIN shared sh ON sh.id = r.shared_id
WHERE d.variant IN ('original', 'normalised') AND sh.study_uid = :study_uid AND sh.original_key = :original_key
GROUP BY d.target, d.instance_id
ON CONFLICT (target, instance_id, variant) DO UPDATE SET state = 'pending', attempts = 0, reason = NULL, lease_until = NULL,
  created_at = excluded.created_at, next_attempt_at = excluded.next_attempt_at, lease_token = delivery.lease_token + 1

-- name: untell
-- What holds no longer and was not told yet never will be. A content that was set aside stays withdrawn whatever becomes of its study.
UPDATE delivery SET state = 'superseded', reason = NULL, lease_until = NULL, lease_token = lease_token + 1
WHERE variant = :variant AND state IN ('pending', 'leased', 'parked') AND instance_id IN (
  SELECT i.id FROM instance i JOIN series s ON s.id = i.series_id
  WHERE s.study_uid = :study_uid AND (i.held_for IS NULL OR i.held_for <> 'content')
)

-- name: again_after_withdrawal
-- Who was told of a withdrawal that holds no longer is given the image once more, and what came meanwhile is sent at last. Whoever may
-- have been told counts too: a row that was leased once (its token says so) may have arrived although no answer came. Asked before "untell".
UPDATE delivery SET state = 'pending', attempts = 0, reason = NULL, created_at = :now, next_attempt_at = :now, lease_until = NULL,
  lease_token = lease_token + 1
WHERE variant IN ('original', 'normalised') AND instance_id IN (
  SELECT i.id FROM instance i JOIN series s ON s.id = i.series_id
  WHERE s.study_uid = :study_uid AND (i.held_for IS NULL OR i.held_for <> 'content')
) AND (state = 'superseded' OR state IN ('done', 'verified') AND EXISTS (
  SELECT 1 FROM delivery w WHERE w.target = delivery.target AND w.instance_id = delivery.instance_id AND w.variant = 'withdrawn'
    AND (w.state IN ('done', 'verified') OR w.state <> 'superseded' AND w.lease_token > 0)
))

-- name: again_after_reassignment
-- And so is who was told that an image belongs to another patient, when it is back where its header says.
UPDATE delivery SET state = 'pending', attempts = 0, reason = NULL, created_at = :now, next_attempt_at = :now, lease_until = NULL,
  lease_token = lease_token + 1
WHERE variant IN ('original', 'normalised') AND state IN ('done', 'verified') AND instance_id IN (
  SELECT r.instance_id FROM record r JOIN shared sh ON sh.id = r.shared_id
  WHERE sh.study_uid = :study_uid AND sh.original_key = :original_key
) AND EXISTS (
  SELECT 1 FROM delivery w WHERE w.target = delivery.target AND w.instance_id = delivery.instance_id AND w.variant = 'reassigned'
    AND (w.state IN ('done', 'verified') OR w.state <> 'superseded' AND w.lease_token > 0)
)

-- name: unsend
-- Of the content that was in force: what has not been sent yet never will be.
UPDATE delivery SET state = 'superseded', reason = NULL
WHERE instance_id = :id AND variant IN ('original', 'normalised') AND state IN ('pending', 'parked')

-- name: untell_content
-- Of the content that is put in force: a withdrawal that was not told yet never will be, and one that was holds no longer.
UPDATE delivery SET state = 'superseded', reason = NULL, lease_until = NULL, lease_token = lease_token + 1
WHERE instance_id = :id AND variant = 'withdrawn' AND state <> 'superseded'

-- name: content_withdrawn
SELECT st.withdrawn FROM instance i JOIN series s ON s.id = i.series_id JOIN study st ON st.uid = s.study_uid WHERE i.id = :id

-- name: tell_content
-- Of two contents the other one is in force: the former is withdrawn where it was delivered ...
INSERT INTO delivery (target, instance_id, variant, partition_key, state, created_at, next_attempt_at)
SELECT d.target, d.instance_id, 'withdrawn', MIN(d.partition_key), 'pending', CAST(:now AS DOUBLE PRECISION), CAST(:now AS DOUBLE PRECISION)
FROM delivery d WHERE d.variant IN ('original', 'normalised') AND d.instance_id = :former_id GROUP BY d.target, d.instance_id
ON CONFLICT (target, instance_id, variant) DO UPDATE SET state = 'pending', attempts = 0, reason = NULL, lease_until = NULL,
  created_at = excluded.created_at, next_attempt_at = excluded.next_attempt_at, lease_token = delivery.lease_token + 1

-- name: send_content
-- ... and the one in force goes where the former went, behind that.
INSERT INTO delivery (target, instance_id, variant, partition_key, state, created_at, next_attempt_at)
SELECT d.target, CAST(:id AS BIGINT), d.variant, d.partition_key, 'pending', CAST(:now AS DOUBLE PRECISION), CAST(:now AS DOUBLE PRECISION)
FROM delivery d WHERE d.variant IN ('original', 'normalised') AND d.instance_id = :former_id
ON CONFLICT (target, instance_id, variant) DO UPDATE SET state = 'pending', attempts = 0, reason = NULL, lease_until = NULL,
  created_at = excluded.created_at, next_attempt_at = excluded.next_attempt_at, lease_token = delivery.lease_token + 1

-- name: keep_content
-- In a withdrawn study it is not sent; the row stands ready for the day the withdrawal is undone.
INSERT INTO delivery (target, instance_id, variant, partition_key, state, created_at, next_attempt_at)
SELECT d.target, CAST(:id AS BIGINT), d.variant, d.partition_key, 'superseded', CAST(:now AS DOUBLE PRECISION), CAST(:now AS DOUBLE PRECISION)
FROM delivery d WHERE d.variant IN ('original', 'normalised') AND d.instance_id = :former_id
ON CONFLICT (target, instance_id, variant) DO NOTHING

-- name: tell_content_reassigned
-- Where it belongs to another patient than it says, that is told behind it.
INSERT INTO delivery (target, instance_id, variant, partition_key, state, created_at, next_attempt_at)
SELECT d.target, d.instance_id, 'reassigned', MIN(d.partition_key), 'pending', CAST(:now AS DOUBLE PRECISION), CAST(:now AS DOUBLE PRECISION)
FROM delivery d JOIN record r ON r.instance_id = d.instance_id JOIN shared sh ON sh.id = r.shared_id
WHERE d.variant IN ('original', 'normalised') AND d.instance_id = :id AND sh.patient_key <> sh.original_key
GROUP BY d.target, d.instance_id
ON CONFLICT (target, instance_id, variant) DO UPDATE SET state = 'pending', attempts = 0, reason = NULL, lease_until = NULL,
  created_at = excluded.created_at, next_attempt_at = excluded.next_attempt_at, lease_token = delivery.lease_token + 1

-- name: study_row
SELECT uid, patient_key, decided_key, withdrawn, problem, next_quiet_at FROM study WHERE uid = :study_uid

-- name: study_series
SELECT s.series_uid, s.sop_class_uid, i.state, i.held_for, COUNT(*) AS n FROM series s JOIN instance i ON i.series_id = s.id
WHERE s.study_uid = :study_uid GROUP BY s.series_uid, s.sop_class_uid, i.state, i.held_for ORDER BY s.series_uid, i.state

-- name: study_arrivals
SELECT a.door, a.calling_ae, COUNT(*) AS n, MIN(a.received_at) AS first_at, MAX(a.received_at) AS last_at
FROM arrival a WHERE a.digest IN (
  SELECT i.digest FROM series s JOIN instance i ON i.series_id = s.id WHERE s.study_uid = :study_uid
)
GROUP BY a.door, a.calling_ae ORDER BY MIN(a.received_at), a.calling_ae

-- name: study_held
SELECT i.sop_instance_uid, i.digest, i.state, i.held_for, i.reason, s.series_uid FROM series s JOIN instance i ON i.series_id = s.id
WHERE s.study_uid = :study_uid AND i.state IN ('conflict', 'quarantined') ORDER BY i.id LIMIT :limit

-- name: study_images
-- What the DICOM targets were told of the images of a study.
SELECT d.target, d.variant, d.state, COALESCE(d.reason, '') AS reason, COUNT(*) AS n
FROM series s JOIN instance i ON i.series_id = s.id JOIN delivery d ON d.instance_id = i.id
WHERE s.study_uid = :study_uid AND d.state <> 'superseded'
GROUP BY d.target, d.variant, d.state, COALESCE(d.reason, '') ORDER BY d.target, d.variant, d.state, COUNT(*) DESC

-- name: study_versions
SELECT v.version, v.state, v.sealed_at, d.target, d.state AS delivery_state, d.reason
FROM subject_version v LEFT JOIN delivery d ON d.subject_version_id = v.id
WHERE v.kind = 'study' AND v.subject_key = :study_uid ORDER BY v.version, d.target
