-- Studies and dossiers: their timers, their records, their versions.

-- name: study_timer
SELECT versions, open_since FROM study WHERE uid = :key

-- name: dossier_timer
SELECT versions, open_since FROM dossier WHERE patient_key = :key

-- name: study_touch
INSERT INTO study (uid, next_quiet_at, open_since, changes) VALUES (:key, :due, :open_since, 1)
ON CONFLICT (uid) DO UPDATE SET next_quiet_at = excluded.next_quiet_at, open_since = excluded.open_since, changes = study.changes + 1

-- name: dossier_touch
INSERT INTO dossier (patient_key, next_quiet_at, open_since, changes) VALUES (:key, :due, :open_since, 1)
ON CONFLICT (patient_key) DO UPDATE SET next_quiet_at = excluded.next_quiet_at, open_since = excluded.open_since, changes = dossier.changes + 1

-- name: study_due
-- A study is quiet when its timer has run out and nothing of it still waits for a worker, nor to be mapped again.
SELECT uid AS key, changes, lease_token FROM study
WHERE next_quiet_at <= :now AND (lease_until IS NULL OR lease_until < :now)
  AND NOT EXISTS (
    SELECT 1 FROM series s JOIN instance i ON i.series_id = s.id WHERE s.study_uid = study.uid AND (i.state = 'received' OR i.replay IS NOT NULL)
  )
ORDER BY next_quiet_at LIMIT 1 /*skip_locked*/

-- name: dossier_due
SELECT patient_key AS key, changes, lease_token FROM dossier
WHERE next_quiet_at <= :now AND (lease_until IS NULL OR lease_until < :now)
  AND NOT EXISTS (
    SELECT 1 FROM instance i JOIN record r ON r.instance_id = i.id JOIN shared sh ON sh.id = r.shared_id
    WHERE i.replay IS NOT NULL AND sh.patient_key = dossier.patient_key
  )
ORDER BY next_quiet_at LIMIT 1 /*skip_locked*/

-- name: study_lease
UPDATE study SET lease_token = lease_token + 1, lease_until = :until WHERE uid = :key AND lease_token = :token

-- name: dossier_lease
UPDATE dossier SET lease_token = lease_token + 1, lease_until = :until WHERE patient_key = :key AND lease_token = :token

-- name: study_records
-- What is held for its patient id is read too: which of two patients a study belongs to is decided anew from the whole set.
-- Another content of a UID is no second member of the study.
SELECT r.instance_id, r.shared_id, r.fields, r.issues, i.state
FROM record r JOIN instance i ON i.id = r.instance_id JOIN series s ON s.id = i.series_id
WHERE s.study_uid = :key AND (i.state = 'normalised' OR i.held_for = 'patient')

-- name: study_records_and_shadow
-- The same with what is in shadow: what the study would be if everything were approved.
SELECT r.instance_id, r.shared_id, r.fields, r.issues, i.state
FROM record r JOIN instance i ON i.id = r.instance_id JOIN series s ON s.id = i.series_id
WHERE s.study_uid = :key AND (i.state IN ('normalised', 'shadowed') OR i.held_for = 'patient')

-- name: shared_bodies
SELECT id, patient_key, original_key, body FROM shared WHERE id IN :ids

-- name: dossier_shared
-- What the patient's records say, without their instances: only what at least one published instance of a study that was not
-- withdrawn still says.
SELECT sh.id, sh.patient_key, sh.original_key, sh.body FROM shared sh
WHERE sh.patient_key = :key AND EXISTS (
  SELECT 1 FROM record r JOIN instance i ON i.id = r.instance_id WHERE r.shared_id = sh.id AND i.state = 'normalised'
) AND NOT EXISTS (
  SELECT 1 FROM study st WHERE st.uid = sh.study_uid AND st.withdrawn = 1
)
ORDER BY sh.key

-- name: hold_instance
UPDATE instance SET state = 'conflict', held_for = 'patient', reason = :reason WHERE id = :id AND state = 'normalised'

-- name: release_instance
UPDATE instance SET state = 'normalised', held_for = NULL, reason = NULL WHERE id = :id AND held_for = 'patient'

-- name: last_version
-- A delivery of the latest version is superseded only where a person asked to seal the subject anew (deliveries.sql, give_up).
SELECT v.version, v.content_hash, CASE WHEN EXISTS (
  SELECT 1 FROM delivery d WHERE d.subject_version_id = v.id AND d.state = 'superseded'
) THEN 1 ELSE 0 END AS given_up
FROM subject_version v WHERE v.kind = :kind AND v.subject_key = :key ORDER BY v.version DESC LIMIT 1

-- name: last_bundle
SELECT patient_key, bundle FROM subject_version WHERE kind = :kind AND subject_key = :key ORDER BY version DESC LIMIT 1

-- name: insert_version
INSERT INTO subject_version (kind, subject_key, version, patient_key, state, content_hash, sealed_at, bundle)
VALUES (:kind, :key, :version, :patient_key, 'sealed', :content_hash, :sealed_at, :bundle)
RETURNING id

-- name: supersede_versions
UPDATE subject_version SET state = 'superseded' WHERE kind = :kind AND subject_key = :key AND version < :version AND state = 'sealed'

-- name: supersede_deliveries
UPDATE delivery SET state = 'superseded', reason = NULL
WHERE state IN ('pending', 'parked') AND subject_version_id IN (
  SELECT id FROM subject_version WHERE kind = :kind AND subject_key = :key AND version < :version
)

-- name: insert_delivery
INSERT INTO delivery (target, subject_version_id, partition_key, state, created_at, next_attempt_at)
VALUES (:target, :subject_version_id, :partition_key, 'pending', :now, :now)

-- name: study_problem
UPDATE study SET problem = :reason WHERE uid = :key AND lease_token = :token

-- name: dossier_problem
UPDATE dossier SET problem = :reason WHERE patient_key = :key AND lease_token = :token

-- name: study_settle
-- The timer is cleared only if nothing changed since the subject was leased. Two changes may set the same time, never the same count.
UPDATE study SET patient_key = :patient_key, versions = versions + :grown, lease_until = NULL, problem = NULL,
  open_since = CASE WHEN changes = :seen THEN NULL ELSE open_since END,
  next_quiet_at = CASE WHEN changes = :seen THEN NULL ELSE next_quiet_at END
WHERE uid = :key AND lease_token = :token

-- name: dossier_settle
UPDATE dossier SET versions = versions + :grown, lease_until = NULL, problem = NULL,
  open_since = CASE WHEN changes = :seen THEN NULL ELSE open_since END,
  next_quiet_at = CASE WHEN changes = :seen THEN NULL ELSE next_quiet_at END
WHERE patient_key = :key AND lease_token = :token
