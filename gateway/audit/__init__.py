"""Who accessed what: the audit trail, and its records as FHIR AuditEvent."""
