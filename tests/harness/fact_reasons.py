"""Why something that a study says stands in no element of FHIR: for the table of facts (``fact_table.py``)."""

from __future__ import annotations

#: What is read and reaches no element, though another value would: concept -> why.
ON_PURPOSE = {
    "123004": "the same instant as the start, so no end is told; another one would be the end of the Period",
    "113870": "'Unknown' names nobody; a name would be a Practitioner",
    "113875": "the role of a person without a name; with one it is the performer's function",
}
#: Fields of headers that fill no element by themselves, by name or level -> why.
FIELDS = {
    "study.id": "no identifier: neither unique nor global; the study is known by its UID",
    "series.body_part": "no body part that a code table knows: words alone say nothing to a search",
    "series.pet": "how the images were made: decides whether there is a SUV factor; stays in the images",
    **dict.fromkeys(
        ("series.pet.units", "series.pet.patient_weight", "series.pet.patient_size", "series.pet.decay_reference"),
        "input of the factor: `Observation suv-scale-factor.component`",
    ),
    "series.pet.suv_type": "decides the factor: `Observation suv-scale-factor.component`",
    "series.frame_of_reference": "links dose maps to the images of an injection",
    "series.document": "told of the document: DocumentReference.type, status, context",
    "series.dose_report": "told of the document and its facts: DocumentReference.context, Observation.component",
    "instance": "a single image: input of the SUV factor; stays in the image",
    "document.study_uid": "DocumentReference.context.related leads to the ImagingStudy of this UID",
    "document.series_uid": "part of the address of the document; a series of the ImagingStudy",
    "document.template": "which rows to expect: decides nothing that is told",
    "document.completion": "decides status: DocumentReference.docStatus, DiagnosticReport.status, Observation.status",
    "document.verification": "decides status: DocumentReference.docStatus, DiagnosticReport.status, Observation.status",
    "document.software": "of a scanner the Device of the series tells it: Device.manufacturer, Device.version",
    "administration.start_clock": "the time of day as the header writes it; with the day it is the start",
}
#: Elements that no rule reads: how their keywords begin -> why.
UNREAD = {
    "describes pixels and geometry: for who reads the images": (
        "Rows Columns Bits HighBit Pixel Photometric Samples Window Rescale Slice Image Smallest Largest Position PatientPosition "
        "PatientOrientation PatientGantry AcquisitionNumber"
    ),
    "how the detector counted: stays in the images": "Axial Collimator Energy DecayFactor DoseCalibration ScatterFraction",
    "when the scanner was calibrated: stays in the object": "DateOfLastCalibration TimeOfLastCalibration",
    "a physical constant, not a fact of the patient": "RadiopharmaceuticalInformationSequence.RadionuclidePositronFraction",
    "de-identification: says nothing of the patient": "Deidentification PatientIdentityRemoved",
    "of the order and the procedure step: the hospital's systems know it": (
        "PerformedProcedure RequestAttributes Requested Scheduled ProtocolName"
    ),
    "persons and addresses of the order: not for research": "Institution PhysiciansOfRecord Referring Requesting PerformingPhysician",
    "leads to other objects of the same study": "Referenced Related",
    "what a vendor keeps for itself": "(",
    "how the document is written": "ContentTemplateSequence.MappingResource ContinuityOfContent ValueType ContentDate ContentTime",
    "the same as birth date and study date": "PatientAge",
    "an order's question, not an answer": "PregnancyStatus",
    "the report's content tree, or the images, tell it": "PatientSize PatientWeight",
}
