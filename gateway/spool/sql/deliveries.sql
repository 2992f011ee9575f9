-- Deliveries of sealed versions and of instances to targets: one lane per target, in order within a patient.

-- name: next_delivery
-- The head of a patient's queue only, so that versions arrive in order; a lease that ran out is taken again. No bundle yet: a search
-- through a long queue carries ids, not bodies.
SELECT d.id, d.lease_token FROM delivery d
WHERE d.target = :target AND d.state IN ('pending', 'leased') AND d.variant IS NULL
  AND ((d.state = 'pending' AND d.next_attempt_at <= :now) OR (d.state = 'leased' AND d.lease_until < :now))
  AND NOT EXISTS (
    SELECT 1 FROM delivery e
    WHERE e.target = d.target AND e.partition_key = d.partition_key AND e.state IN ('pending', 'leased') AND e.id < d.id
  )
ORDER BY d.id LIMIT 1

-- name: lease_delivery
UPDATE delivery SET state = 'leased', lease_token = lease_token + 1, lease_until = :until, attempts = attempts + 1
WHERE id = :id AND lease_token = :token AND state IN ('pending', 'leased')

-- name: leased_delivery
SELECT d.id, d.attempts, d.created_at, v.kind, v.subject_key, v.version, v.bundle
FROM delivery d JOIN subject_version v ON v.id = d.subject_version_id WHERE d.id = :id

-- name: instances_due
-- Anything to do for a lane of images? Asked before a write lock is taken, with the conditions of the next query. "state IN (...)" stands
-- beside "state = ..." because SQLite uses a partial index only where its very condition is written.
SELECT 1 FROM delivery
WHERE target = :target AND state IN ('pending', 'leased') AND variant IS NOT NULL
  AND ((state = 'pending' AND next_attempt_at <= :now) OR (state = 'leased' AND lease_until < :now))
  AND partition_key NOT IN (
    SELECT partition_key FROM delivery WHERE target = :target AND state IN ('pending', 'leased') AND state = 'pending' AND next_attempt_at > :now
    UNION
    SELECT partition_key FROM delivery WHERE target = :target AND state IN ('pending', 'leased') AND state = 'leased' AND lease_until >= :now
  )
ORDER BY id LIMIT 1

-- name: lease_instances
-- The oldest that are due, many at once. A patient of whom something is leased or waits for its next attempt is passed over whole,
-- so nothing overtakes within a patient.
UPDATE delivery SET state = 'leased', lease_token = lease_token + 1, lease_until = :until, attempts = attempts + 1
WHERE id IN (
  SELECT id FROM delivery
  WHERE target = :target AND state IN ('pending', 'leased') AND variant IS NOT NULL
    AND ((state = 'pending' AND next_attempt_at <= :now) OR (state = 'leased' AND lease_until < :now))
    AND partition_key NOT IN (
      SELECT partition_key FROM delivery WHERE target = :target AND state IN ('pending', 'leased') AND state = 'pending' AND next_attempt_at > :now
      UNION
      SELECT partition_key FROM delivery WHERE target = :target AND state IN ('pending', 'leased') AND state = 'leased' AND lease_until >= :now
    )
  ORDER BY id LIMIT :limit /*skip_locked*/
)
RETURNING id

-- name: leased_instances
-- A file stands in quarantine only when it was refused at the door, and such instances are never delivered.
SELECT d.id, d.instance_id, d.lease_token, d.attempts, d.created_at, d.variant, d.partition_key, i.digest, i.day, i.sop_instance_uid,
  s.study_uid, sh.original_key, sh.patient_key,
  a.calling_ae, a.called_ae, a.door, a.received_at
FROM delivery d JOIN instance i ON i.id = d.instance_id JOIN series s ON s.id = i.series_id
LEFT JOIN arrival a ON a.id = (SELECT MIN(first.id) FROM arrival first WHERE first.digest = i.digest)
LEFT JOIN record r ON r.instance_id = i.id LEFT JOIN shared sh ON sh.id = r.shared_id
WHERE d.id IN :ids ORDER BY d.id

-- name: given_before
-- What a target was given of the instances of some deliveries: normalised objects, originals that it confirmed, and what was being
-- uploaded when somebody was killed.
SELECT d.instance_id, d.id, COALESCE(d.given_digest, i.digest) AS digest, COALESCE(d.given_uid, i.sop_instance_uid) AS sop_instance_uid
FROM delivery d JOIN instance i ON i.id = d.instance_id
WHERE d.target = :target AND d.instance_id IN (SELECT l.instance_id FROM delivery l WHERE l.id IN :ids)
  AND (d.given_digest IS NOT NULL OR d.variant = 'original' AND d.state IN ('done', 'verified'))
UNION
SELECT d.instance_id, d.id, n.digest, n.sop_instance_uid
FROM intended n JOIN delivery d ON d.id = n.delivery_id
WHERE d.target = :target AND d.instance_id IN (SELECT l.instance_id FROM delivery l WHERE l.id IN :ids)
ORDER BY 2

-- name: intend
-- Written before the upload, by whoever holds the lease.
INSERT INTO intended (delivery_id, digest, sop_instance_uid)
SELECT d.id, :digest, CAST(:uid AS TEXT) FROM delivery d WHERE d.id = :id AND d.lease_token = :token AND d.state = 'leased'
ON CONFLICT (delivery_id, digest) DO UPDATE SET sop_instance_uid = excluded.sop_instance_uid

-- name: forget_intended
-- The target was asked back: what stands there is noted, whatever else was under way is gone.
DELETE FROM intended WHERE delivery_id IN (
  SELECT d.id FROM delivery d JOIN delivery n ON n.target = d.target AND n.instance_id = d.instance_id WHERE n.id = :id
)

-- name: note_given
UPDATE delivery SET given_digest = :digest, given_uid = :uid WHERE id = :id

-- name: forget_given
-- The other objects that the target was given of this instance are gone: the newest took their place.
UPDATE delivery SET given_digest = NULL, given_uid = NULL, state = CASE WHEN variant = 'original' THEN 'superseded' ELSE state END
WHERE id <> :id AND variant IN ('original', 'normalised', 'reassigned')
  AND (given_digest IS NOT NULL OR variant = 'original' AND state IN ('done', 'verified'))
  AND target = (SELECT n.target FROM delivery n WHERE n.id = :id)
  AND instance_id = (SELECT n.instance_id FROM delivery n WHERE n.id = :id)

-- name: enqueue_instance
-- All that is told of one instance stays in one queue, even when a person gives it another patient: else a mark could overtake its object.
-- That is the patient's queue; an object that no mapping understood has no patient yet and queues with its study. One row for each variant.
INSERT INTO delivery (target, instance_id, variant, partition_key, state, created_at, next_attempt_at)
SELECT CAST(:target AS TEXT), i.id, CAST(:variant AS TEXT),
       COALESCE((SELECT d.partition_key FROM delivery d WHERE d.target = :target AND d.instance_id = i.id ORDER BY d.id LIMIT 1),
                (SELECT sh.patient_key FROM record r JOIN shared sh ON sh.id = r.shared_id WHERE r.instance_id = i.id),
                'study|' || s.study_uid),
       CAST(:state AS TEXT), :now, :now
FROM instance i JOIN series s ON s.id = i.series_id
WHERE i.id IN :ids AND i.sop_instance_uid <> ''
ON CONFLICT (target, instance_id, variant) DO NOTHING

-- name: reopen_instance
-- A person decided anew: what was delivered or given up before is delivered again.
UPDATE delivery SET state = 'pending', attempts = 0, created_at = :now, next_attempt_at = :now, reason = NULL
WHERE target = :target AND variant = :variant AND instance_id IN :ids AND state IN ('verified', 'done', 'parked', 'superseded')

-- name: supersede_opposite
-- What the newer decision makes pointless.
UPDATE delivery SET state = 'superseded', reason = NULL
WHERE target = :target AND variant IN :variants AND instance_id IN :ids AND state IN ('pending', 'parked')

-- name: targets_of
SELECT DISTINCT target FROM delivery WHERE instance_id IN :ids

-- name: end_delivery
-- A version that became old while it was on the wire is not tried again: it would overwrite the newer one.
UPDATE delivery SET reason = :reason, next_attempt_at = :next_attempt_at, lease_until = NULL,
  state = CASE WHEN CAST(:state AS TEXT) <> 'verified' AND EXISTS (
  SELECT 1 FROM subject_version v WHERE v.id = delivery.subject_version_id AND v.state = 'superseded'
) THEN 'superseded' ELSE CAST(:state AS TEXT) END
WHERE id = :id AND lease_token = :token AND state = 'leased'

-- name: release_delivery
-- Given back untried.
UPDATE delivery SET attempts = attempts - 1, lease_until = NULL, state = CASE WHEN EXISTS (
  SELECT 1 FROM subject_version v WHERE v.id = delivery.subject_version_id AND v.state = 'superseded'
) THEN 'superseded' ELSE 'pending' END
WHERE id = :id AND lease_token = :token AND state = 'leased'

-- name: park_expired
-- The target was away for longer than deliveries may wait: all of those at once, not one per knock.
UPDATE delivery SET reason = :reason, lease_until = NULL, state = CASE WHEN EXISTS (
  SELECT 1 FROM subject_version v WHERE v.id = delivery.subject_version_id AND v.state = 'superseded'
) THEN 'superseded' ELSE 'parked' END
WHERE target = :target AND state IN ('pending', 'leased') AND state = 'pending' AND created_at <= :created_before

-- name: published_hashes
SELECT resource_type, resource_id, version_id, content_hash, remote_id FROM published WHERE target = :target AND resource_id IN :ids

-- name: put_published
INSERT INTO published (target, resource_type, resource_id, version_id, content_hash, remote_id)
VALUES (:target, :resource_type, :resource_id, :version_id, :content_hash, :remote_id)
ON CONFLICT (target, resource_type, resource_id) DO UPDATE
SET version_id = excluded.version_id, content_hash = excluded.content_hash, remote_id = excluded.remote_id

-- name: let_old_versions_rest
UPDATE delivery SET state = 'superseded', reason = NULL WHERE state = 'parked' AND id IN :ids AND EXISTS (
  SELECT 1 FROM subject_version v WHERE v.id = delivery.subject_version_id AND v.state = 'superseded'
)

-- name: overtaken
-- Parked versions whose patient the target heard something newer of meanwhile. What they say of the patient may be old by now.
SELECT d.id, v.kind, v.subject_key FROM delivery d JOIN subject_version v ON v.id = d.subject_version_id
JOIN (
  SELECT target, partition_key, MAX(subject_version_id) AS newest FROM delivery
  WHERE subject_version_id IS NOT NULL AND state IN ('leased', 'done', 'verified') GROUP BY target, partition_key
) told ON told.target = d.target AND told.partition_key = d.partition_key AND told.newest > d.subject_version_id
WHERE d.state = 'parked' AND d.id IN :ids

-- name: give_up
UPDATE delivery SET state = 'superseded', reason = NULL WHERE state = 'parked' AND id IN :ids

-- name: unpark
UPDATE delivery SET state = 'pending', attempts = 0, created_at = :now, next_attempt_at = :now, reason = NULL
WHERE state = 'parked' AND id IN :ids

-- name: tell_behind
-- What a person decided meanwhile is told once more behind an image that is tried again: nothing withdrawn arrives unmarked. Only what
-- holds now: a decision that was undone is not told again.
UPDATE delivery SET state = 'pending', attempts = 0, created_at = :now, next_attempt_at = :now, reason = NULL
WHERE variant IN ('withdrawn', 'reassigned') AND state IN ('done', 'verified') AND EXISTS (
  SELECT 1 FROM delivery image
  WHERE image.id IN :ids AND image.variant IN ('original', 'normalised') AND image.state = 'pending'
    AND image.target = delivery.target AND image.instance_id = delivery.instance_id
) AND CASE WHEN EXISTS (
  SELECT 1 FROM instance i JOIN series s ON s.id = i.series_id LEFT JOIN study st ON st.uid = s.study_uid
  WHERE i.id = delivery.instance_id AND (st.withdrawn = 1 OR i.held_for = 'content')
) THEN variant = 'withdrawn' ELSE variant = 'reassigned' AND EXISTS (
  SELECT 1 FROM record r JOIN shared sh ON sh.id = r.shared_id
  WHERE r.instance_id = delivery.instance_id AND sh.patient_key <> sh.original_key
) END
