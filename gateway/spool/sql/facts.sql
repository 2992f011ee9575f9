-- Administrations and results of dosimetry: minted once, known by many names, replaced when two prove to be one.

-- name: select_alias
SELECT alias, administration_id FROM administration_alias WHERE patient_key = :patient_key

-- name: select_replaced
SELECT id, replaced_by FROM administration WHERE patient_key = :patient_key AND replaced_by IS NOT NULL

-- name: insert_administration
INSERT INTO administration (id, patient_key) VALUES (:id, :patient_key) ON CONFLICT DO NOTHING

-- name: enter_in_error
-- Facts of this patient that the last gathering did not find any more. Nothing is deleted: they come back if their source does.
UPDATE administration SET state = 'entered-in-error' WHERE patient_key = :patient_key AND state = 'active'

-- name: activate
UPDATE administration SET state = 'active', replaced_by = NULL WHERE id = :id

-- name: put_alias
INSERT INTO administration_alias (patient_key, alias, administration_id) VALUES (:patient_key, :alias, :id)
ON CONFLICT (patient_key, alias) DO UPDATE SET administration_id = excluded.administration_id

-- name: replace_administration
UPDATE administration SET state = 'entered-in-error', replaced_by = :survivor WHERE id = :id AND patient_key = :patient_key

-- name: select_result_alias
SELECT alias, dose_result_id FROM dose_result_alias WHERE patient_key = :patient_key

-- name: select_replaced_results
SELECT id, replaced_by FROM dose_result WHERE patient_key = :patient_key AND replaced_by IS NOT NULL

-- name: insert_result
INSERT INTO dose_result (id, patient_key) VALUES (:id, :patient_key) ON CONFLICT DO NOTHING

-- name: enter_results_in_error
UPDATE dose_result SET state = 'entered-in-error' WHERE patient_key = :patient_key AND state = 'active'

-- name: activate_result
UPDATE dose_result SET state = 'active', replaced_by = NULL WHERE id = :id

-- name: put_result_alias
INSERT INTO dose_result_alias (patient_key, alias, dose_result_id) VALUES (:patient_key, :alias, :id)
ON CONFLICT (patient_key, alias) DO UPDATE SET dose_result_id = excluded.dose_result_id

-- name: replace_result
UPDATE dose_result SET state = 'entered-in-error', replaced_by = :survivor WHERE id = :id AND patient_key = :patient_key
