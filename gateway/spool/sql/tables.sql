-- Tables of dosimetry software: files, their parts, what people decided about them.

-- name: file_by_digest
SELECT id, adapter, adapter_version, received_at FROM table_file WHERE digest = :digest

-- name: insert_file
INSERT INTO table_file (digest, name, size_bytes, adapter, adapter_version, door, sender, received_at)
VALUES (:digest, :name, :size_bytes, :adapter, :adapter_version, :door, :sender, :received_at)
ON CONFLICT (digest) DO NOTHING
RETURNING id

-- name: read_again
UPDATE table_file SET adapter = :adapter, adapter_version = :adapter_version WHERE id = :file_id

-- name: parts_of_file
SELECT id, key, patient_key FROM table_part WHERE file_id = :file_id

-- name: put_part
-- What a person decided about a part stays when the file is read again.
INSERT INTO table_part (file_id, key, stated_key, patient_key, waits_for, facts, body)
VALUES (:file_id, :key, :stated_key, :stated_key, :waits_for, :facts, :body)
ON CONFLICT (file_id, key) DO UPDATE SET body = excluded.body, facts = excluded.facts, gone = 0

-- name: part_gone
UPDATE table_part SET gone = 1 WHERE id = :id

-- name: parts_of_patient
-- The order is that of their sources, not of their rows: what is newer stands later.
SELECT p.id, p.patient_key, p.administration_id, p.cycle, p.body, f.received_at, f.digest
FROM table_part p JOIN table_file f ON f.id = p.file_id
WHERE p.patient_key = :patient_key AND p.withdrawn = :withdrawn AND p.gone = 0
ORDER BY f.received_at, f.digest, p.key

-- name: settle_part
UPDATE table_part SET bound_to = :bound_to, waits_for = :waits_for WHERE id = :id

-- name: is_known
-- A patient is known when an object that holds tells of it; a table alone makes none.
SELECT 1 FROM shared sh WHERE sh.patient_key = :patient_key AND EXISTS (
  SELECT 1 FROM record r JOIN instance i ON i.id = r.instance_id WHERE r.shared_id = sh.id AND i.state = 'normalised'
) LIMIT 1

-- name: known_like
SELECT DISTINCT sh.patient_key FROM shared sh WHERE sh.patient_key LIKE :ending ESCAPE '!' AND EXISTS (
  SELECT 1 FROM record r JOIN instance i ON i.id = r.instance_id WHERE r.shared_id = sh.id AND i.state = 'normalised'
) ORDER BY sh.patient_key LIMIT 20

-- name: listed
SELECT p.id, p.stated_key, p.patient_key, p.administration_id, p.cycle, p.withdrawn, p.bound_to, p.waits_for, p.facts,
  f.name, f.adapter, f.adapter_version, f.received_at, f.door, f.sender, f.digest
FROM table_part p JOIN table_file f ON f.id = p.file_id
WHERE p.gone = 0 AND (:everything = 1 OR (p.waits_for IS NOT NULL AND p.withdrawn = 0))
ORDER BY p.id DESC LIMIT :most

-- name: one
SELECT p.id, p.stated_key, p.patient_key, p.administration_id, p.cycle, p.withdrawn, p.bound_to, p.waits_for, p.facts, p.body,
  f.name, f.adapter, f.adapter_version, f.received_at, f.door, f.sender, f.digest
FROM table_part p JOIN table_file f ON f.id = p.file_id
WHERE p.id = :id AND p.gone = 0

-- name: count_waiting
SELECT count(*) AS n FROM table_part WHERE waits_for IS NOT NULL AND withdrawn = 0 AND gone = 0

-- name: decisions
SELECT id, part_id, kind, patient_key, administration_id, cycle, reason, decided_by, decided_at
FROM table_decision WHERE part_id = :part_id ORDER BY id

-- name: insert_decision
INSERT INTO table_decision (part_id, kind, patient_key, administration_id, cycle, reason, decided_by, decided_at)
VALUES (:part_id, :kind, :patient_key, :administration_id, :cycle, :reason, :decided_by, :decided_at)

-- name: assign
UPDATE table_part SET patient_key = :patient_key, administration_id = :administration_id, cycle = :cycle, withdrawn = 0 WHERE id = :part_id

-- name: withdraw
UPDATE table_part SET withdrawn = :withdrawn WHERE id = :part_id

-- name: administration_known
SELECT state, replaced_by FROM administration WHERE id = :id AND patient_key = :patient_key

-- name: files
SELECT digest, name, adapter FROM table_file ORDER BY id
