"""The field's arithmetic: units, decay, nuclides, administered activity. Pure, exact and cited; knows no DICOM and no FHIR."""
