"""Codes of our own that stand beside the kinds of results: components of an Observation, and the words that they may say. Pure.

Together with ``results.KINDS`` they are the code system ``nm-dosimetry``. A code is never given another meaning; what is not used any
more stays in the list.
"""

from __future__ import annotations

#: Code -> title, of what no official code exists for.
COMPONENTS: dict[str, str] = {
    "activity-at-reference-time": "Activity at the moment of reference",
    "activity-in-voi": "Activity in a region at a time",
    "alpha-beta-ratio": "Ratio alpha/beta of the linear-quadratic model",
    "calibration": "Calibration of camera or calibrator that a dose rests on",
    "cycle-number": "Number of the therapy cycle",
    "decay-reference-origin": "What told the moment to which voxels are corrected for decay",
    "decay-reference-time": "Moment to which voxels are corrected for decay",
    "dose-comment": "DoseComment of a dose grid",
    "dose-grid-frames": "NumberOfFrames of a dose grid",
    "dose-grid-scaling": "DoseGridScaling",
    "dose-summation-type": "DoseSummationType",
    "dose-type": "DoseType",
    "dose-units": "DoseUnits",
    "dvh-bins": "Number of bins of a dose-volume histogram",
    "dvh-dose-widths": "Widths of the dose bins of a histogram",
    "dvh-parameter-name": "Parameter of a dose-volume histogram, such as D95 or V20",
    "dvh-type": "Type of a dose-volume histogram",
    "dvh-volumes": "Volumes of the bins of a histogram",
    "effect-model": "Method of a dose that is weighted for its biological effect",
    "fit-model": "Model of a fit",
    "fit-parameters": "Parameters of a fit",
    "fit-r2": "Coefficient of determination of a fit",
    "intent": "Whether a dose was predicted before the administration or verified after it",
    "mass-method": "How a mass was measured",
    "method": "Method of a calculation",
    "repair-half-time": "Half-time of sublethal damage repair",
    "scope-uid": "UID of what a dose was added up over",
    "software": "Software that calculated",
    "suv-not-computable-reason": "Why there is no SUV factor by body weight",
    "suv-scale-factor-bsa": "SUV factor by body surface area (DuBois)",
    "suv-scale-factor-ibw": "SUV factor by ideal body weight",
    "suv-scale-factor-lbm": "SUV factor by lean body mass (James, coefficient 120)",
    "suv-scale-factor-lbm-james128": "SUV factor by lean body mass (James, coefficient 128)",
    "suv-scale-factor-lbm-janma": "SUV factor by lean body mass (Janmahasatian)",
    "suv-scale-factor-of-frame": "SUV factor by body weight of one frame",
    "target-definition": "What the region of a dose is",
    "therapy-course": "Course of a radionuclide therapy: all its cycles",
    "therapy-cycle": "Cycle of a radionuclide therapy",
    "tissue-heterogeneity-correction": "TissueHeterogeneityCorrection",
    "uncertainty": "Uncertainty of a value, with a unit of its own",
    "uptake-time": "From the administration to the start of the scan",
    "value-at-time": "Value at a time",
    "voxel-unit": "Unit of voxels after rescaling",
}

#: Words that ``intent``, ``use`` and ``target-definition`` may say (results.WORDS).
WORDS: dict[str, str] = {
    "predicted": "Predicted before the administration",
    "verified": "Verified by measurements after the administration",
    "diagnostic": "For diagnosis",
    "therapeutic": "For therapy",
    "whole-organ": "A whole organ",
    "lesion": "A lesion",
    "treated-volume": "A treated volume",
    "dose-volume-cut": "The volume within an isodose",
}
