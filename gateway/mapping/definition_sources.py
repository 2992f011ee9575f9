"""Where a value may be read from, and when: sources, paths and conditions of the mapping language, as data for :mod:`definition`."""

from __future__ import annotations

from gateway.mapping.definition_key import Key, Shape

SOURCE_FORMS = (
    Key(
        "path",
        Shape.PATH,
        "An element by its path; written so, it may carry `when`.",
        '{path: "ImageType[2]", when: {of: Modality, equals: NM}}',
    ),
    Key(
        "sr",
        Shape.SR,
        "A content item of a report, by the codes of the concept names that lead to it. A list stands for any of its names, "
        "`*` for any child, `**` for any depth.",
        '{sr: ["**", 113502 DCM, [113507 DCM, 113508 DCM]]}',
    ),
    Key(
        "attribute",
        Shape.PATH,
        "With `sr`: an attribute of the content item instead of its value.",
        "{sr: [113508 DCM], attribute: ObservationDateTime}",
    ),
    Key(
        "relationship",
        Shape.NAMES,
        "With `sr`: how the last item is related to the one above it.",
        "{sr: [113502 DCM], relationship: CONTAINS}",
    ),
    Key(
        "template",
        Shape.TEMPLATE,
        "With `sr`: only in a report, or a part of one, that follows this template.",
        '{sr: [113507 DCM], template: "10022"}',
    ),
    Key(
        "value_type",
        Shape.NAMES,
        "With `sr`: the value type of the last item, or several.",
        '{sr: [125007 DCM, "*"], value_type: NUM}',
    ),
    Key(
        "except",
        Shape.NAMES,
        "With `sr`: concept names that the last item must not have.",
        '{sr: [125007 DCM, "*"], except: [121071 DCM]}',
    ),
    Key(
        "nearest",
        Shape.NEAREST,
        "With `sr`: what does not stand there is looked for around the item that the path starts from, level by level: to the top, or "
        "up to an item with this concept name.",
        "{sr: [363698007 SCT], nearest: 125007 DCM}",
    ),
    Key(
        "frame",
        Shape.PATH,
        "A path inside the functional groups of an enhanced object: the shared ones, else those of each frame. Differing values "
        "are several values.",
        '{frame: "FrameContentSequence[0].FrameAcquisitionDateTime"}',
    ),
    Key("meta", Shape.KEYWORD, "An element of the file meta information.", "{meta: SourceApplicationEntityTitle}"),
    Key("arrival", Shape.ARRIVAL, "What is known of the object's arrival.", "{arrival: calling_ae}"),
    Key("when", Shape.CONDITION, "The source counts only when the condition holds."),
)
PATH_FORMS = (
    Key("PatientID", Shape.PATH, "An element by its keyword."),
    Key("ProcedureCodeSequence[0].CodeMeaning", Shape.PATH, "Into the first item of a sequence."),
    Key("ProcedureCodeSequence[*].CodeMeaning", Shape.PATH, "Into all items: several values."),
    Key("ImageType[2]", Shape.PATH, "The third of several values."),
    Key(
        "(7053,xx00)[Philips PET Private Group]",
        Shape.PATH,
        "A private element through its creator, whatever block the creator reserved.",
    ),
    Key("$administration.RadionuclideTotalDose", Shape.PATH, "From the current item of `for_each`."),
    Key("$frame.FrameAnatomySequence[0]", Shape.PATH, "From a short name of `let`."),
    Key("$item.CodeMeaning", Shape.PATH, "Inside `fields` of a field with `for_each`: from the current item."),
    Key("$item.name", Shape.FIELD, "There: another field of the same item, that stands above."),
    Key("administration.radionuclide", Shape.FIELD, "The value of another field; only where a converter's part wants a field."),
)
CONDITION_KEYS = (
    Key(
        "of",
        Shape.OPERAND,
        "What is looked at: a source, or the name of a field; goes with one of the following, or several that all hold.",
        "{of: Modality, equals: PT}",
    ),
    Key("equals", Shape.VALUE, "It is this value, in any case; of several values one is enough.", "{of: Units, equals: BQML}"),
    Key("in", Shape.VALUES, "It is one of these values.", "{of: Modality, in: [PT, NM]}"),
    Key("matches", Shape.PATTERN, "The whole value fits an RE2 pattern.", '{of: ManufacturerModelName, matches: "Biograph.*"}'),
    Key("exists", Shape.FLAG, "It has a value, or has none.", "{of: RadiopharmaceuticalStartDateTime, exists: false}"),
    Key("above", Shape.NUMBER, "It is a number above this one.", "{of: PatientWeight, above: 0}"),
    Key("below", Shape.NUMBER, "It is a number below this one.", "{of: PatientWeight, below: 500}"),
    Key("all", Shape.CONDITIONS, "All of them hold.", "{all: [{of: Modality, equals: PT}, {of: Units, exists: true}]}"),
    Key("any", Shape.CONDITIONS, "One of them holds.", "{any: [{of: Modality, equals: PT}, {of: Modality, equals: NM}]}"),
    Key("not", Shape.CONDITION, "It does not hold.", "{not: {of: Modality, equals: CT}}"),
)
