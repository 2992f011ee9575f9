-- Storage commitment: requests, what became of their objects, answers.

-- name: ask
-- The same transaction once more is a new request: it is looked at anew.
INSERT INTO commitment (calling_ae, called_ae, transaction_uid, asked_at, state, next_at, held_until)
VALUES (:calling_ae, :called_ae, :transaction_uid, :now, 'waiting', :now, :held_until)
ON CONFLICT (calling_ae, transaction_uid) DO UPDATE SET called_ae = excluded.called_ae, asked_at = excluded.asked_at, state = 'waiting',
  next_at = excluded.next_at, ready_at = NULL, attempts = 0, reason = NULL, held_until = excluded.held_until,
  lease_token = commitment.lease_token + 1, lease_until = NULL
RETURNING id

-- name: forget_items
DELETE FROM commitment_item WHERE commitment_id = :id

-- name: add_item
INSERT INTO commitment_item (commitment_id, number, sop_class_uid, sop_instance_uid)
VALUES (:id, :number, :sop_class_uid, :sop_instance_uid)

-- name: due
SELECT 1 FROM commitment WHERE state IN ('waiting', 'ready') AND state = :state AND next_at <= :now
  AND (lease_until IS NULL OR lease_until < :now) AND (state = 'waiting' OR held_until <= :now) LIMIT 1

-- name: lease
-- What stands open, the oldest first. An answer that an association holds is left to it.
UPDATE commitment SET lease_token = lease_token + 1, lease_until = :until WHERE id IN (
  SELECT id FROM commitment WHERE state IN ('waiting', 'ready') AND state = :state AND next_at <= :now
    AND (lease_until IS NULL OR lease_until < :now) AND (state = 'waiting' OR held_until <= :now)
  ORDER BY next_at, id LIMIT 1 /*skip_locked*/
) RETURNING id

-- name: lease_held
-- Answers of these requests, for the associations that they were asked on.
UPDATE commitment SET lease_token = lease_token + 1, lease_until = :until
WHERE id IN :ids AND state = 'ready' AND next_at <= :now AND (lease_until IS NULL OR lease_until < :now) RETURNING id

-- name: leased
SELECT id, lease_token, calling_ae, called_ae, transaction_uid, asked_at, ready_at, attempts FROM commitment WHERE id = :id

-- name: items
SELECT number, sop_class_uid, sop_instance_uid, outcome FROM commitment_item WHERE commitment_id = :id ORDER BY number

-- name: contents
-- All contents that came under these identifiers, and whether an archive that is asked for was asked back and holds them.
SELECT i.sop_instance_uid, s.sop_class_uid, i.state, i.held_for,
  CASE WHEN EXISTS (SELECT 1 FROM delivery d WHERE d.instance_id = i.id AND d.variant IS NOT NULL) THEN 1 ELSE 0 END AS is_sent,
  CASE WHEN EXISTS (SELECT 1 FROM delivery d WHERE d.instance_id = i.id AND d.variant = 'original' AND d.state = 'verified'
    AND d.target IN :targets) THEN 1 ELSE 0 END AS is_verified,
  CASE WHEN EXISTS (SELECT 1 FROM delivery d WHERE d.instance_id = i.id AND d.variant = 'withdrawn' AND d.state <> 'superseded')
    THEN 1 ELSE 0 END AS is_withdrawn
FROM instance i JOIN series s ON s.id = i.series_id WHERE i.sop_instance_uid IN :uids

-- name: verified
-- Which archive was found to hold which content: there it is asked for once more before anything is answered.
SELECT i.sop_instance_uid, i.digest, i.day, d.target FROM instance i JOIN delivery d ON d.instance_id = i.id
WHERE i.sop_instance_uid IN :uids AND d.target IN :targets AND d.variant = 'original' AND d.state = 'verified'

-- name: renew
UPDATE commitment SET lease_until = :until WHERE id = :id AND lease_token = :token

-- name: set_outcome
UPDATE commitment_item SET outcome = :outcome WHERE commitment_id = :id AND number = :number

-- name: change
-- What waits again has no answer any more.
UPDATE commitment SET state = :state, next_at = :next_at, attempts = :attempts, reason = :reason, lease_until = NULL,
  ready_at = CASE WHEN :state = 'waiting' THEN NULL ELSE COALESCE(ready_at, :ready_at) END WHERE id = :id AND lease_token = :token

-- name: hold
UPDATE commitment SET held_until = :until WHERE id IN :ids

-- name: unpark
-- Much may have happened since: it is looked at anew.
UPDATE commitment SET state = 'waiting', attempts = 0, next_at = :now, ready_at = NULL, reason = NULL WHERE state = 'parked'

-- name: counts
SELECT state, COUNT(*) AS n FROM commitment GROUP BY state

-- name: listed
SELECT c.id, c.calling_ae, c.transaction_uid, c.state, c.asked_at, c.attempts, c.reason, COUNT(*) AS objects,
  SUM(CASE WHEN i.outcome = 0 THEN 1 ELSE 0 END) AS committed, SUM(CASE WHEN i.outcome > 0 THEN 1 ELSE 0 END) AS failed
FROM commitment c JOIN commitment_item i ON i.commitment_id = c.id
GROUP BY c.id, c.calling_ae, c.transaction_uid, c.state, c.asked_at, c.attempts, c.reason ORDER BY c.id DESC LIMIT :limit
