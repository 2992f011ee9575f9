"""FHIR R4 as data: element tables, a strict schema, search parameters, validation and exact JSON. Knows FHIR, no stage."""
