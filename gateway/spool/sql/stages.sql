-- The work on single instances: lease, advance, quarantine.

-- name: lease_instances
-- Oldest first. A lease that ran out is taken again; its token grows, so the former holder can no longer write.
UPDATE instance SET lease_token = lease_token + 1, lease_until = :until
WHERE id IN (
  SELECT id FROM instance
  WHERE state = 'received' AND (lease_until IS NULL OR lease_until < :now)
  ORDER BY id LIMIT :limit /*skip_locked*/
)
RETURNING id

-- name: lease_comparisons
-- The other contents that nobody has looked at yet, once the content in force has been read.
UPDATE instance SET lease_token = lease_token + 1, lease_until = :until
WHERE id IN (
  SELECT id FROM instance
  WHERE held_for = 'comparison' AND (lease_until IS NULL OR lease_until < :now) AND NOT EXISTS (
    SELECT 1 FROM instance other WHERE other.sop_instance_uid = instance.sop_instance_uid AND other.state = 'received'
  )
  ORDER BY id LIMIT :limit /*skip_locked*/
)
RETURNING id

-- name: leased_tickets
-- With the arrival that brought the content first: who sent it, through which door, when.
SELECT i.id, i.lease_token, i.digest, i.day, i.sop_instance_uid, i.crashes, s.study_uid, s.series_uid,
  a.calling_ae, a.called_ae, a.door, a.received_at
FROM instance i JOIN series s ON s.id = i.series_id
LEFT JOIN arrival a ON a.id = (SELECT MIN(first.id) FROM arrival first WHERE first.digest = i.digest)
WHERE i.id IN :ids ORDER BY i.id

-- name: content_in_force
SELECT i.digest, i.day, a.calling_ae, a.called_ae, a.door, a.received_at FROM instance i
LEFT JOIN arrival a ON a.id = (SELECT MIN(first.id) FROM arrival first WHERE first.digest = i.digest)
WHERE i.sop_instance_uid = :sop_instance_uid AND (i.state IN ('received', 'normalised', 'shadowed') OR i.held_for = 'patient')

-- name: tokens
SELECT id, lease_token, replay FROM instance WHERE id IN :ids AND state = 'received'

-- name: set_compared
UPDATE instance SET state = :state, held_for = :held_for, reason = :reason, lease_until = NULL
WHERE id = :id AND lease_token = :token AND held_for = 'comparison'

-- name: take_vacant_place
-- Nothing is in force under this UID any more (the first could not be understood after all): this content is worked on instead.
UPDATE instance SET state = 'received', held_for = NULL, reason = NULL, lease_until = NULL, crashes = 0
WHERE id = :id AND lease_token = :token AND held_for = 'comparison' AND NOT EXISTS (
  SELECT 1 FROM instance other
  WHERE other.sop_instance_uid = instance.sop_instance_uid AND (other.state IN ('received', 'normalised', 'shadowed') OR other.held_for = 'patient')
)

-- name: insert_shared
INSERT INTO shared (key, patient_key, original_key, study_uid, body) VALUES (:key, :patient_key, :original_key, :study_uid, :body)
ON CONFLICT DO NOTHING

-- name: select_shared
SELECT id, patient_key FROM shared WHERE key = :key

-- name: put_record
INSERT INTO record (instance_id, shared_id, fields, issues) VALUES (:instance_id, :shared_id, :fields, :issues)
ON CONFLICT (instance_id) DO UPDATE SET shared_id = excluded.shared_id, fields = excluded.fields, issues = excluded.issues

-- name: set_normalised
UPDATE instance SET state = 'normalised', reason = NULL, lease_until = NULL, replay = NULL WHERE id = :id

-- name: set_shadowed
UPDATE instance SET state = 'shadowed', held_for = :held_for, reason = :reason, lease_until = NULL, replay = NULL WHERE id = :id

-- name: set_quarantined
UPDATE instance SET state = 'quarantined', reason = :reason, lease_until = NULL, replay = NULL WHERE id = :id AND lease_token = :token

-- name: note_replay_problem
-- A replay tried it anew, and it stays set aside.
INSERT INTO replay_problem (replay_id, instance_id, reason)
SELECT i.replay, i.id, CAST(:reason AS TEXT) FROM instance i WHERE i.id = :id AND i.lease_token = :token AND i.replay IS NOT NULL
ON CONFLICT DO NOTHING

-- name: study_withdrawn
-- Written, not only read: who decides about the study at this moment waits for us, or we for them.
UPDATE study SET withdrawn = withdrawn WHERE uid = :study_uid RETURNING withdrawn

-- name: archived
-- Those that a DICOM target is or was to be given, of studies that nobody withdrew.
SELECT DISTINCT d.instance_id FROM delivery d JOIN instance i ON i.id = d.instance_id JOIN series s ON s.id = i.series_id
JOIN study st ON st.uid = s.study_uid
WHERE d.instance_id IN :ids AND d.variant IN ('original', 'normalised') AND st.withdrawn = 0

-- name: count_crash
UPDATE instance SET crashes = crashes + 1, lease_until = NULL WHERE id = :id AND (state = 'received' OR held_for = 'comparison' OR replay IS NOT NULL)

-- name: requeue
-- A human asked for another try of what stands in quarantine. One row at a time: of two contents of one UID only one can be tried.
UPDATE instance SET state = 'received', reason = NULL, crashes = 0, lease_until = NULL
WHERE state = 'quarantined' AND sop_instance_uid <> '' AND id = :id AND NOT EXISTS (
  SELECT 1 FROM instance other
  WHERE other.sop_instance_uid = instance.sop_instance_uid AND (other.state IN ('received', 'normalised', 'shadowed') OR other.held_for = 'patient')
)
