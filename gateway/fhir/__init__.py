"""FHIR out: identities and transaction bundles, from gathered subjects and the mappings' templates. Reads no clock."""
