-- What a person wants to know of studies: the latest ones, and everything about one. Reads only.

-- name: recent
SELECT v.subject_key AS study_uid, v.version, v.sealed_at, v.patient_key, v.bundle
FROM subject_version v WHERE v.kind = 'study' AND v.state = 'sealed' ORDER BY v.id DESC LIMIT :limit OFFSET :offset

-- name: gathering
-- Studies that have not been published yet, and how much of them is there.
SELECT st.uid AS study_uid, st.next_quiet_at, st.problem, (
  SELECT COUNT(*) FROM series s JOIN instance i ON i.series_id = s.id WHERE s.study_uid = st.uid
) AS instances
FROM study st WHERE st.versions = 0 AND EXISTS (
  SELECT 1 FROM series s JOIN instance i ON i.series_id = s.id WHERE s.study_uid = st.uid AND i.state <> 'shadowed'
) ORDER BY st.next_quiet_at DESC LIMIT :limit

-- name: study_row
SELECT uid, patient_key, next_quiet_at, problem, versions FROM study WHERE uid = :study

-- name: series_counts
SELECT s.series_uid, i.state, COUNT(*) AS n, SUM(i.size_bytes) AS size_bytes
FROM series s JOIN instance i ON i.series_id = s.id WHERE s.study_uid = :study GROUP BY s.series_uid, i.state ORDER BY s.series_uid

-- name: senders
SELECT a.door, a.calling_ae, a.called_ae, a.peer, COUNT(*) AS n, MIN(a.received_at) AS first_at, MAX(a.received_at) AS last_at
FROM arrival a JOIN instance i ON i.digest = a.digest JOIN series s ON s.id = i.series_id
WHERE s.study_uid = :study GROUP BY a.door, a.calling_ae, a.called_ae, a.peer ORDER BY first_at

-- name: held
SELECT i.id, i.digest, i.sop_instance_uid, s.series_uid, i.state, i.reason, sh.patient_key
FROM instance i JOIN series s ON s.id = i.series_id
LEFT JOIN record r ON r.instance_id = i.id LEFT JOIN shared sh ON sh.id = r.shared_id
WHERE s.study_uid = :study AND i.state NOT IN ('received', 'normalised') ORDER BY i.id LIMIT :limit

-- name: shared_of_study
-- Each distinct header of the study, with how many instances carry it and one of them.
SELECT sh.id, sh.patient_key, sh.body, COUNT(*) AS n, MIN(i.id) AS example_id,
  SUM(CASE WHEN i.state = 'normalised' THEN 1 ELSE 0 END) AS published
FROM shared sh JOIN record r ON r.shared_id = sh.id JOIN instance i ON i.id = r.instance_id
WHERE sh.study_uid = :study GROUP BY sh.id, sh.patient_key, sh.body ORDER BY sh.id LIMIT :limit

-- name: example_file
SELECT digest, day FROM instance WHERE id = :id

-- name: versions
SELECT v.id, v.kind, v.version, v.state, v.sealed_at FROM subject_version v
WHERE v.kind = :kind AND v.subject_key = :key ORDER BY v.version DESC LIMIT :limit

-- name: last_bundle
SELECT version, bundle FROM subject_version WHERE kind = :kind AND subject_key = :key ORDER BY version DESC LIMIT 1

-- name: parked_images
SELECT d.id FROM series s JOIN instance i ON i.series_id = s.id JOIN delivery d ON d.instance_id = i.id
WHERE s.study_uid = :study AND d.target = :target AND d.state = 'parked' ORDER BY d.id

-- name: deliveries_of
SELECT d.id, d.target, d.state, d.attempts, d.reason, d.next_attempt_at, v.kind, v.version
FROM delivery d JOIN subject_version v ON v.id = d.subject_version_id
WHERE v.kind = :kind AND v.subject_key = :key AND d.state <> 'superseded' ORDER BY d.target, v.version
