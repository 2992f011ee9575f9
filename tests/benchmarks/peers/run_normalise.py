"""Times reading and normalising the slices of a folder; prints seconds of processor time. Imports and mappings are not timed."""

import sys
import time
import warnings
from pathlib import Path
from zoneinfo import ZoneInfo

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))

from gateway.dicom.reading import read_header
from gateway.mapping.language import load
from gateway.normalise.record import SharedCache, SiteContext, normalise


def main(directory: str, folder: str) -> None:
    warnings.simplefilter("ignore")
    mappings, site, cache = load(Path(directory)), SiteContext(timezone=ZoneInfo("Europe/Brussels")), SharedCache()
    files = sorted(Path(folder).glob("*.dcm"))
    started = time.process_time()
    records = []
    for path in files:
        header = read_header(path)
        records.append(normalise(header, mappings.for_header(header), site, cache))
    seconds = time.process_time() - started
    assert len({record.instance["uid"] for record in records}) == len(files)
    assert all(record.shared.administrations for record in records)
    print(seconds)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
