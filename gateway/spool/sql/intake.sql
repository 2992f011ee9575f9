-- What the receiver writes, and what the start-up sweep compares.

-- name: insert_series
INSERT INTO series (series_uid, study_uid, sop_class_uid, transfer_syntax_uid)
VALUES (:series_uid, :study_uid, :sop_class_uid, :transfer_syntax_uid)
ON CONFLICT DO NOTHING

-- name: select_series
SELECT id FROM series
WHERE series_uid = :series_uid AND study_uid = :study_uid
  AND sop_class_uid = :sop_class_uid AND transfer_syntax_uid = :transfer_syntax_uid

-- name: insert_arrival
INSERT INTO arrival (door, calling_ae, called_ae, peer, received_at, digest, status)
VALUES (:door, :calling_ae, :called_ae, :peer, :received_at, :digest, :status)

-- name: insert_instance
-- A re-send of the same bytes changes nothing; neither does another content of a UID that is already worked on (next query).
INSERT INTO instance (series_id, sop_instance_uid, digest, day, size_bytes, state, reason)
VALUES (:series_id, :sop_instance_uid, :digest, :day, :size_bytes, :state, :reason)
ON CONFLICT DO NOTHING

-- name: insert_conflict
-- The same SOP Instance UID with other bytes: both are kept, the first stays published. A worker compares them: when only the
-- encoding differs it is a variant, else a human decides.
INSERT INTO instance (series_id, sop_instance_uid, digest, day, size_bytes, state, held_for, reason)
SELECT CAST(:series_id AS BIGINT), CAST(:sop_instance_uid AS TEXT), :digest, CAST(:day AS TEXT),
       CAST(:size_bytes AS BIGINT), 'conflict', 'comparison', CAST(:conflict_reason AS TEXT)
WHERE NOT EXISTS (SELECT 1 FROM instance WHERE sop_instance_uid = :sop_instance_uid AND digest = :digest)
ON CONFLICT DO NOTHING

-- name: heal_instance
-- The same bytes stood in quarantine and now came in good order: they are worked on after all.
UPDATE instance SET state = 'received', reason = NULL, crashes = 0, day = :day, series_id = :series_id
WHERE sop_instance_uid = :sop_instance_uid AND digest = :digest AND state = 'quarantined' AND NOT EXISTS (
  SELECT 1 FROM instance other
  WHERE other.sop_instance_uid = :sop_instance_uid AND (other.state IN ('received', 'normalised', 'shadowed') OR other.held_for = 'patient')
)

-- name: select_days
-- Where the ledger says the bytes of these digests stand; a file of the same digest in another day-partition is a spare copy.
-- Quarantine at the door has partitions of its own, so its rows say nothing here.
SELECT digest, day FROM instance WHERE digest IN :digests AND state <> 'quarantined'

-- name: known_digests
SELECT digest FROM instance WHERE digest IN :digests

-- name: quarantined_digests
SELECT digest FROM instance WHERE digest IN :digests GROUP BY digest HAVING SUM(CASE WHEN state = 'quarantined' THEN 0 ELSE 1 END) = 0

-- name: relocate
UPDATE instance SET day = :day WHERE digest = :digest AND state <> 'quarantined'

-- name: came_again
-- What had left the spool stands there again: its days count anew.
DELETE FROM departure WHERE instance_id IN (SELECT id FROM instance WHERE digest IN :digests)

-- name: closed_days
SELECT day FROM day_closed

-- name: close_day
INSERT INTO day_closed (day) VALUES (:day) ON CONFLICT DO NOTHING
