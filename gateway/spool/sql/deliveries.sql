-- Delivery of sealed versions to targets: one lane per target, in order within a patient.

-- name: next_delivery
-- The head of a patient's queue only, so that versions arrive in order; a lease that ran out is taken again.
SELECT d.id, d.lease_token, d.attempts, d.created_at, d.subject_version_id, d.partition_key, v.kind, v.subject_key, v.version, v.bundle
FROM delivery d JOIN subject_version v ON v.id = d.subject_version_id
WHERE d.target = :target
  AND ((d.state = 'pending' AND d.next_attempt_at <= :now) OR (d.state = 'leased' AND d.lease_until < :now))
  AND NOT EXISTS (
    SELECT 1 FROM delivery e
    WHERE e.target = d.target AND e.partition_key = d.partition_key AND e.state IN ('pending', 'leased') AND e.id < d.id
  )
ORDER BY d.next_attempt_at, d.id LIMIT 1

-- name: lease_delivery
UPDATE delivery SET state = 'leased', lease_token = lease_token + 1, lease_until = :until, attempts = attempts + 1
WHERE id = :id AND lease_token = :token AND state IN ('pending', 'leased')

-- name: end_delivery
UPDATE delivery SET state = :state, reason = :reason, next_attempt_at = :next_attempt_at, lease_until = NULL
WHERE id = :id AND lease_token = :token AND state = 'leased'

-- name: published_hashes
SELECT resource_type, resource_id, version_id, content_hash FROM published WHERE target = :target AND resource_id IN :ids

-- name: put_published
INSERT INTO published (target, resource_type, resource_id, version_id, content_hash)
VALUES (:target, :resource_type, :resource_id, :version_id, :content_hash)
ON CONFLICT (target, resource_type, resource_id) DO UPDATE SET version_id = excluded.version_id, content_hash = excluded.content_hash

-- name: unpark
UPDATE delivery SET state = 'pending', attempts = 0, created_at = :now, next_attempt_at = :now, reason = NULL
WHERE state = 'parked' AND id IN :ids
