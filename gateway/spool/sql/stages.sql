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

-- name: leased_tickets
SELECT i.id, i.lease_token, i.digest, i.day, i.sop_instance_uid, i.crashes, s.study_uid, s.series_uid
FROM instance i JOIN series s ON s.id = i.series_id
WHERE i.id IN :ids ORDER BY i.id

-- name: tokens
SELECT id, lease_token FROM instance WHERE id IN :ids AND state = 'received'

-- name: insert_shared
INSERT INTO shared (key, patient_key, study_uid, body) VALUES (:key, :patient_key, :study_uid, :body) ON CONFLICT DO NOTHING

-- name: select_shared
SELECT id FROM shared WHERE key = :key

-- name: put_record
INSERT INTO record (instance_id, shared_id, fields, issues) VALUES (:instance_id, :shared_id, :fields, :issues)
ON CONFLICT (instance_id) DO UPDATE SET shared_id = excluded.shared_id, fields = excluded.fields, issues = excluded.issues

-- name: set_normalised
UPDATE instance SET state = 'normalised', reason = NULL, lease_until = NULL WHERE id = :id

-- name: set_quarantined
UPDATE instance SET state = 'quarantined', reason = :reason, lease_until = NULL WHERE id = :id AND lease_token = :token

-- name: count_crash
UPDATE instance SET crashes = crashes + 1, lease_until = NULL WHERE id = :id AND state = 'received'

-- name: requeue
-- A human asked for another try of what stands in quarantine. One row at a time: of two contents of one UID only one can be tried.
UPDATE instance SET state = 'received', reason = NULL, crashes = 0, lease_until = NULL
WHERE state = 'quarantined' AND sop_instance_uid <> '' AND id = :id AND NOT EXISTS (
  SELECT 1 FROM instance other
  WHERE other.sop_instance_uid = instance.sop_instance_uid AND other.state IN ('received', 'normalised')
)
