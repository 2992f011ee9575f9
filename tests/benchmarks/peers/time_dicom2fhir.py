"""Runs inside the peer's own environment: times dicom2fhir on a folder; prints seconds of processor time, imports not counted."""

import asyncio
import sys
import time

from dicom2fhir.dicom2fhir import from_directory  # type: ignore[import-not-found]  # lives in .peers only


async def main(directory: str) -> None:
    started = time.process_time()
    bundle = await from_directory(directory, config={"dicom_timezone": "Europe/Brussels"})
    seconds = time.process_time() - started
    assert bundle.entry
    print(seconds)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
