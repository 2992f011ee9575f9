"""Loads NDJSON into sekmet-fhir's own database by sekmet's own Store, many resources a transaction. Runs in sekmet's environment.

``python load_sekmet.py DATABASE FILE``; the seconds it took go to stdout.
"""

import json
import sys
import time
from itertools import islice

from sekmet.fhir.store import Store  # type: ignore[import-not-found]  # lives in .peers only

AT_ONCE = 500


def main(database: str, path: str) -> None:
    store = Store(database)
    spent = 0.0
    with open(path, encoding="utf-8") as lines:  # noqa: PTH123
        while part := [json.loads(line) for line in islice(lines, AT_ONCE)]:
            started = time.monotonic()
            with store.transaction():
                for resource in part:
                    store.update(resource, origin="external")
            spent += time.monotonic() - started
    print(spent)


if __name__ == "__main__":
    main(*sys.argv[1:])
