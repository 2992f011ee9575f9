-- What people ask: counts, lists, one item. Nothing here writes.

-- name: instance_counts
SELECT state, COUNT(*) AS n FROM instance GROUP BY state

-- name: delivery_counts
SELECT target, state, COUNT(*) AS n FROM delivery GROUP BY target, state

-- name: waiting
-- What waits for each target, since when and, where an attempt failed, why.
SELECT target, COALESCE(reason, '') AS reason, COUNT(*) AS n, MIN(created_at) AS since
FROM delivery WHERE state IN ('pending', 'leased') GROUP BY target, COALESCE(reason, '') ORDER BY target, COUNT(*) DESC

-- name: arrival_counts
SELECT door, COUNT(*) AS n FROM arrival GROUP BY door

-- name: instances_in_state
SELECT i.id, i.digest, i.sop_instance_uid, s.study_uid, i.state, i.reason, i.size_bytes, i.day
FROM instance i JOIN series s ON s.id = i.series_id WHERE i.state = :state ORDER BY i.id DESC LIMIT :limit

-- name: instances_like
-- By the first hex digits of the digest (lower and upper bound), or by UID.
SELECT i.id, i.digest, i.sop_instance_uid, s.study_uid, i.state, i.reason, i.size_bytes, i.day
FROM instance i JOIN series s ON s.id = i.series_id
WHERE (i.digest >= :low AND i.digest <= :high) OR i.sop_instance_uid = :uid OR s.study_uid = :uid ORDER BY i.id LIMIT :limit

-- name: arrivals_of
SELECT door, calling_ae, called_ae, peer, received_at, status FROM arrival WHERE digest = :digest ORDER BY id

-- name: record_of
SELECT r.fields, r.issues, sh.body FROM record r JOIN shared sh ON sh.id = r.shared_id WHERE r.instance_id = :id

-- name: deliveries_in_state
-- Both kinds: a version of a study or dossier for a FHIR target, an instance for a DICOM target.
SELECT d.id, d.target, d.state, d.attempts, d.reason, d.created_at, d.next_attempt_at,
       COALESCE(v.kind, 'instance') AS kind, COALESCE(v.subject_key, i.sop_instance_uid) AS subject_key, v.version, d.variant,
       CASE WHEN v.kind = 'study' THEN v.subject_key ELSE s.study_uid END AS study_uid
FROM delivery d LEFT JOIN subject_version v ON v.id = d.subject_version_id
LEFT JOIN instance i ON i.id = d.instance_id LEFT JOIN series s ON s.id = i.series_id
WHERE d.state = :state ORDER BY d.id DESC LIMIT :limit

-- name: deliveries_of
-- What each DICOM target was told of one instance.
SELECT target, variant, state, attempts, reason FROM delivery WHERE instance_id = :id ORDER BY target, id

-- name: subjects_with_problems
SELECT 'study' AS kind, uid AS subject_key, problem FROM study WHERE problem IS NOT NULL
UNION ALL
SELECT 'dossier', patient_key, problem FROM dossier WHERE problem IS NOT NULL

-- name: open_subjects
SELECT (SELECT COUNT(*) FROM study WHERE next_quiet_at IS NOT NULL) + (SELECT COUNT(*) FROM dossier WHERE next_quiet_at IS NOT NULL) AS n

-- name: subject_versions
SELECT kind, COUNT(*) AS n FROM subject_version GROUP BY kind
