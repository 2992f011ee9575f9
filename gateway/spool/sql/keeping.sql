-- Originals that leave the spool and come back; what was found damaged, missing or lost.

-- name: ripe
-- Originals that may leave: understood and held by nobody, no replay or arrival lately, every archive verified its part days ago (one of
-- them the original, byte for byte), and every FHIR server verified what its study and its patient's dossier say now.
SELECT i.id, i.digest, i.day, i.size_bytes, i.sop_instance_uid
FROM instance i JOIN series s ON s.id = i.series_id LEFT JOIN departure p ON p.instance_id = i.id
WHERE i.id > :after AND i.day <= :day AND i.state = 'normalised' AND i.held_for IS NULL AND i.replay IS NULL AND i.sop_instance_uid <> ''
  AND (p.instance_id IS NULL OR p.left_at IS NULL AND COALESCE(p.recalled_at, 0) <= :before)
  AND NOT EXISTS (SELECT 1 FROM arrival a WHERE a.digest = i.digest AND a.received_at > :before)
  AND NOT EXISTS (SELECT 1 FROM delivery d WHERE d.instance_id = i.id AND d.state IN ('pending', 'leased', 'parked'))
  AND EXISTS (
    SELECT 1 FROM delivery d WHERE d.instance_id = i.id AND d.target IN :holders AND d.variant = 'original' AND d.state = 'verified'
  )
  AND :archives_count = (
    SELECT COUNT(DISTINCT d.target) FROM delivery d WHERE d.instance_id = i.id AND d.target IN :archives
      AND d.variant IN ('original', 'normalised') AND d.state = 'verified' AND d.next_attempt_at <= :before
  )
  AND NOT EXISTS (SELECT 1 FROM study st WHERE st.uid = s.study_uid AND (st.next_quiet_at IS NOT NULL OR st.problem IS NOT NULL OR st.withdrawn = 1))
  AND :facts_count = (
    SELECT COUNT(DISTINCT d.target) FROM subject_version v JOIN delivery d ON d.subject_version_id = v.id
    WHERE v.kind = 'study' AND v.subject_key = s.study_uid AND v.state = 'sealed' AND d.target IN :facts AND d.state = 'verified'
  )
  AND NOT EXISTS (
    SELECT 1 FROM record r JOIN shared sh ON sh.id = r.shared_id JOIN dossier o ON o.patient_key = sh.patient_key
    WHERE r.instance_id = i.id AND (o.next_quiet_at IS NOT NULL OR o.problem IS NOT NULL)
  )
  AND NOT EXISTS (
    SELECT 1 FROM record r JOIN shared sh ON sh.id = r.shared_id
    JOIN subject_version v ON v.kind = 'dossier' AND v.subject_key = sh.patient_key
    JOIN delivery d ON d.subject_version_id = v.id
    WHERE r.instance_id = i.id AND d.state IN ('pending', 'leased', 'parked')
  )
ORDER BY i.id LIMIT :limit

-- name: depart
INSERT INTO departure (instance_id, target, asked_at) VALUES (:id, :target, :now)
ON CONFLICT (instance_id) DO UPDATE SET target = excluded.target, asked_at = excluded.asked_at, left_at = NULL, recalled_at = NULL

-- name: left
UPDATE departure SET left_at = :now WHERE instance_id = :id AND recalled_at IS NULL

-- name: recalled
UPDATE departure SET left_at = NULL, recalled_at = :now WHERE instance_id = :id

-- name: departed
SELECT p.instance_id FROM departure p JOIN instance i ON i.id = p.instance_id WHERE i.digest = :digest

-- name: forget_finding
-- Neither is a promise broken twice nor an old wound open: what was mended and is found again is open again.
DELETE FROM finding WHERE instance_id = :id AND kind = :kind AND target = :target AND mended_at IS NOT NULL

-- name: find
INSERT INTO finding (instance_id, kind, target, found_at) VALUES (:id, :kind, :target, :now) ON CONFLICT DO NOTHING

-- name: mend
UPDATE finding SET mended_at = :now WHERE instance_id = :id AND mended_at IS NULL AND kind IN :kinds AND target = :target

-- name: holders
-- Which archives were found to hold an original.
SELECT DISTINCT d.target FROM delivery d WHERE d.instance_id = :id AND d.target IN :targets AND d.variant = 'original' AND d.state = 'verified'
ORDER BY d.target

-- name: instance_of
SELECT id, sop_instance_uid FROM instance WHERE digest = :digest AND day = :day ORDER BY id LIMIT 1

-- name: stored
-- What should stand in a day-partition of the spool: not what the door refused, not what has left.
SELECT i.id, i.digest, i.day, i.size_bytes, i.sop_instance_uid FROM instance i LEFT JOIN departure p ON p.instance_id = i.id
WHERE i.id > :after AND (i.state <> 'quarantined' OR i.lease_token > 0) AND (p.instance_id IS NULL OR p.left_at IS NULL AND p.recalled_at IS NOT NULL)
ORDER BY i.id LIMIT :limit

-- name: still_stored
SELECT i.day FROM instance i LEFT JOIN departure p ON p.instance_id = i.id WHERE i.id = :id AND (p.instance_id IS NULL OR p.left_at IS NULL AND p.recalled_at IS NOT NULL)

-- name: scrub
SELECT upto, objects, started_at, finished_at FROM scrub WHERE id = 1

-- name: put_scrub
INSERT INTO scrub (id, upto, objects, started_at, finished_at) VALUES (1, :upto, :objects, :started_at, :finished_at)
ON CONFLICT (id) DO UPDATE SET upto = excluded.upto, objects = excluded.objects, started_at = excluded.started_at, finished_at = excluded.finished_at

-- name: left_counts
SELECT COUNT(*) AS objects, COALESCE(SUM(i.size_bytes), 0) AS bytes
FROM departure p JOIN instance i ON i.id = p.instance_id WHERE p.left_at IS NOT NULL

-- name: finding_counts
SELECT kind, COUNT(*) AS n FROM finding WHERE mended_at IS NULL GROUP BY kind

-- name: findings
SELECT f.kind, f.target, f.found_at, i.digest, i.sop_instance_uid, s.study_uid
FROM finding f JOIN instance i ON i.id = f.instance_id JOIN series s ON s.id = i.series_id
WHERE f.mended_at IS NULL ORDER BY f.id DESC LIMIT :limit

-- name: held_instances
-- What an archive verified that it holds, withdrawals left out: the originals, or the normalised objects in their place.
SELECT d.id AS delivery_id, d.instance_id, i.digest, i.day, i.sop_instance_uid,
  COALESCE(d.given_digest, i.digest) AS given_digest, COALESCE(d.given_uid, i.sop_instance_uid) AS given_uid
FROM delivery d JOIN instance i ON i.id = d.instance_id JOIN series s ON s.id = i.series_id LEFT JOIN study st ON st.uid = s.study_uid
WHERE d.target = :target AND d.id > :after AND d.state = 'verified' AND d.next_attempt_at >= :since
  AND (d.variant IN ('original', 'normalised') OR d.variant = 'reassigned' AND d.given_digest IS NOT NULL)
  AND COALESCE(st.withdrawn, 0) = 0 AND COALESCE(i.held_for, '') <> 'content'
ORDER BY d.id LIMIT :limit

-- name: held_versions
-- What a FHIR server verified that it holds, as far as it still holds good.
SELECT d.id AS delivery_id, v.bundle FROM delivery d JOIN subject_version v ON v.id = d.subject_version_id
WHERE d.target = :target AND d.id > :after AND d.state = 'verified' AND d.next_attempt_at >= :since AND v.state = 'sealed'
ORDER BY d.id LIMIT :limit

-- name: set_aside
-- To be tried again by the rules of what was parked; a kill right here leaves it parked, where people see it.
UPDATE delivery SET state = 'parked', reason = 'The target does not hold it any more.' WHERE id IN :ids AND state = 'verified'

-- name: forget_published
DELETE FROM published WHERE target = :target AND resource_type = :resource_type AND resource_id = :resource_id
