"""Spool file + record + mapping -> normalised DICOM, for targets that ask for it. Pure: no clock, no network; same input, same bytes.

The object is never read into memory: what changes is written anew, everything else (pixel data above all) is copied bit for bit out of
the file when it is sent. Nothing of it is stored here. What the mapping may say stands in ``gateway/mapping/dicom_section.py``.
"""

from __future__ import annotations

import datetime as dt
import zlib
from pathlib import Path

from gateway.dicom.file_meta import FileMetaInputs, encode_file_meta
from gateway.dicom.reading import Header, read_file_meta, read_header
from gateway.dicom.rewrite import Unwritable
from gateway.dicom.walker import DEFLATED_LITTLE
from gateway.mapping.rules import Mapping
from gateway.model import Came, Record
from gateway.normalise.coercion import Job, is_signed
from gateway.normalise.edits import UNFORESEEN, EffectivePatient
from gateway.normalise.original_attributes import plain
from gateway.normalise.produced import Change, Coerced
from gateway.normalise.recode import NotExact
from gateway.normalise.successor import SOP_CLASS_UID, SOP_INSTANCE_UID, References

__all__ = ["Change", "Coerced", "EffectivePatient", "References", "coerce"]

_META_MOST_BYTES = 1 << 20


def coerce(
    path: Path,
    record: Record | None,
    mapping: Mapping,
    *,
    arrived_at: dt.datetime,
    zone: dt.tzinfo | None = None,
    patient: EffectivePatient | None = None,
    references: References | None = None,
    came: Came | None = None,
) -> Coerced:
    """The object at ``path`` as ``mapping`` (its section ``dicom``) wants it.

    ``record`` is what the same mapping read from it; None: rules that write fields are passed over. ``patient`` is given only when
    people decided that it belongs to another patient than its header says. ``references`` tells under which UID another object goes
    out; None: references stay. ``came`` is how the ledger says that it came; else its file header tells. ``arrived_at`` (aware) becomes
    Attribute Modification DateTime; ``zone`` is the site's, for an object that does not tell its own. Content that cannot be written
    never raises: a rule is passed over, or the object goes out as it was received, and ``problems`` tells. Raises
    :class:`~gateway.errors.Quarantined` when the file cannot be read as DICOM or is too costly to read, and
    :class:`OSError` when it is gone.
    """
    header = read_header(path)
    header.came = came or header.came
    try:
        job = Job(header, record, mapping, patient, references, zone, lambda: _original(path, header).digest)
        if is_signed(job.root):
            return _original(path, header, "it is digitally signed, and a change would break the signature")
        job.run()
        if not job.changes:
            return _original(path, header, *job.problems)
        job.remember(arrived_at)
        return _written(path, header, job)
    except (NotExact, Unwritable) as error:
        return _original(path, header, f"it was left as it is: {error}")
    except UNFORESEEN as error:
        return _original(path, header, f"it was left as it is: something in it cannot be written ({type(error).__name__})")


def _original(path: Path, header: Header, *problems: str) -> Coerced:
    return Coerced(
        path=path, changes=(), problems=problems, sop_instance_uid=header.walk.text(SOP_INSTANCE_UID),
        transfer_syntax_uid=header.transfer_syntax_uid, segments=((0, path.stat().st_size),),
        header_bytes=_header_bytes(path),
    )  # fmt: skip


def _header_bytes(path: Path) -> int:
    with path.open("rb") as file:
        return read_file_meta(file.read(_META_MOST_BYTES))[1]


def _written(path: Path, header: Header, job: Job) -> Coerced:
    syntax = header.transfer_syntax_uid
    meta = encode_file_meta(
        FileMetaInputs(
            transfer_syntax_uid=syntax,
            sop_class_uid=header.walk.text(SOP_CLASS_UID),
            sop_instance_uid=job.sop_instance_uid,
            calling_ae=plain(header.sending_ae),
            called_ae=plain(header.receiving_ae),
        )
    )
    parts = job.root.parts()
    if syntax == DEFLATED_LITTLE:
        segments: list[bytes | tuple[int, int]] = [meta, _deflated(b"".join(map(job.root.bytes_of, parts)))]
    else:
        segments = [meta]
        for part in parts:
            last = segments[-1]
            if isinstance(part, bytes) and isinstance(last, bytes):
                segments[-1] = last + part
            elif isinstance(part, tuple) and isinstance(last, tuple) and last[1] == part[0]:
                segments[-1] = (last[0], part[1])
            else:
                segments.append(part)
    return Coerced(
        path=path, changes=tuple(job.changes), problems=tuple(job.problems), sop_instance_uid=job.sop_instance_uid,
        transfer_syntax_uid=syntax, segments=segments, header_bytes=len(meta),
    )  # fmt: skip


def _deflated(content: bytes) -> bytes:
    """PS3.5 A.5: one raw deflate stream, padded to an even length."""
    stream = zlib.compressobj(level=9, wbits=-zlib.MAX_WBITS)
    deflated = stream.compress(content) + stream.flush()
    return deflated + b"\0" * (len(deflated) % 2)
