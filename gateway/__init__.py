"""Isobridge: a DICOM to FHIR gateway for nuclear medicine. Start reading at ``gateway/pipeline.py``."""

__version__ = "0.1.0"
