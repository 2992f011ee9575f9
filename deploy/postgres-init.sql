-- Ledger and FHIR store are two databases: each has a schema, a migration history and a load of its own.
CREATE DATABASE isobridge_store OWNER isobridge;
