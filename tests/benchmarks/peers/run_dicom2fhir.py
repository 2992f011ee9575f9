"""Runs inside the peer's own environment: converts a folder with dicom2fhir and says how many resources came out."""

import asyncio
import json
import sys
from pathlib import Path

from dicom2fhir.dicom2fhir import from_directory  # type: ignore[import-not-found]  # lives in .peers only


async def main(directory: str, target: str) -> None:
    bundle = await from_directory(directory, config={"dicom_timezone": "Europe/Brussels"})
    Path(target).write_text(bundle.model_dump_json(), encoding="utf-8")
    print(json.dumps({"resources": len(bundle.entry)}))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2]))
