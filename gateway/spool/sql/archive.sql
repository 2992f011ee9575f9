-- What DICOMweb may serve: instances that were understood and that nobody holds, of studies that nobody withdrew. Reads only.

-- name: served
SELECT i.id, i.digest, i.day, i.size_bytes, i.sop_instance_uid, s.study_uid, s.series_uid, s.sop_class_uid, s.transfer_syntax_uid
FROM instance i JOIN series s ON s.id = i.series_id
WHERE s.study_uid = :study AND i.state = 'normalised'
  AND (:series = '' OR s.series_uid = :series) AND (:instance = '' OR i.sop_instance_uid = :instance)
  AND NOT EXISTS (SELECT 1 FROM study st WHERE st.uid = s.study_uid AND st.withdrawn = 1)
ORDER BY s.series_uid, i.id

-- name: not_served
SELECT CASE WHEN st.withdrawn = 1 THEN 'withdrawn' ELSE i.state END AS state, COUNT(*) AS n
FROM instance i JOIN series s ON s.id = i.series_id LEFT JOIN study st ON st.uid = s.study_uid
WHERE s.study_uid = :study AND (i.state <> 'normalised' OR st.withdrawn = 1)
  AND (:series = '' OR s.series_uid = :series) AND (:instance = '' OR i.sop_instance_uid = :instance)
GROUP BY 1 ORDER BY 1

-- name: known
SELECT DISTINCT study_uid FROM series WHERE study_uid IN :studies

-- name: study_of_series
SELECT study_uid FROM series WHERE series_uid = :series LIMIT 1

-- name: latest_shared
-- What headers say, newest first, page by page. Only what at least one served instance says.
SELECT sh.id, sh.patient_key, sh.study_uid, sh.body FROM shared sh
WHERE sh.id < :below
  AND (:study = '' OR sh.study_uid = :study)
  AND (:patient = '' OR sh.patient_key LIKE :patient ESCAPE '!')
  AND EXISTS (SELECT 1 FROM record r JOIN instance i ON i.id = r.instance_id WHERE r.shared_id = sh.id AND i.state = 'normalised')
  AND NOT EXISTS (SELECT 1 FROM study st WHERE st.uid = sh.study_uid AND st.withdrawn = 1)
ORDER BY sh.id DESC LIMIT :limit

-- name: study_numbers
SELECT s.series_uid, COUNT(*) AS n FROM instance i JOIN series s ON s.id = i.series_id
WHERE s.study_uid = :study AND i.state = 'normalised' GROUP BY s.series_uid

-- name: instance_fields
SELECT r.instance_id, r.fields FROM record r JOIN instance i ON i.id = r.instance_id JOIN series s ON s.id = i.series_id
WHERE s.study_uid = :study AND (:series = '' OR s.series_uid = :series) AND i.state = 'normalised'
