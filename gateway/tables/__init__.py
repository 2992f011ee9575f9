"""Tables of dosimetry software: read safely, understood by adapters (``mappings/tables/*.yaml``), matched to administrations."""
