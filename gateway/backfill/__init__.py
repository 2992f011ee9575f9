"""Fetching the past: studies of former years from an Orthanc, a DICOMweb server or a PACS, into the same spool and ledger."""
