-- Cycles of a therapy that a person declared complete.

-- name: of_patient
SELECT id, patient_key, cycles, region, reason, decided_by, decided_at, withdrawn_reason, withdrawn_by, withdrawn_at
FROM declared_cycles WHERE patient_key = :patient_key ORDER BY id

-- name: insert
INSERT INTO declared_cycles (patient_key, cycles, region, reason, decided_by, decided_at)
VALUES (:patient_key, :cycles, :region, :reason, :decided_by, :decided_at)
RETURNING id

-- name: withdraw
UPDATE declared_cycles SET withdrawn_reason = :reason, withdrawn_by = :decided_by, withdrawn_at = :decided_at
WHERE id = :id AND patient_key = :patient_key AND withdrawn_at IS NULL
