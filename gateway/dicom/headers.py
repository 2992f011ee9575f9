"""What is read as a whole object: a header of ``reading``, or a pydicom data set in its place."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Protocol

from pydicom.dataset import Dataset

from gateway.dicom.written import raw_bytes
from gateway.model import UNKNOWN, Came


class HeaderLike(Protocol):
    """What is read: :class:`gateway.dicom.reading.Header` or anything that offers the same."""

    file_meta: Mapping[int, bytes]
    came: Came

    @property
    def dataset(self) -> Dataset: ...

    def raw(self, tag: int) -> bytes: ...

    def tags(self) -> Iterable[int]: ...

    def vr(self, tag: int) -> str: ...


class DatasetHeader:
    """A pydicom data set in the place of a header, for tools and tests. The gateway itself reads files through ``reading``."""

    def __init__(self, dataset: Dataset, came: Came = UNKNOWN) -> None:
        self.dataset = dataset
        self.came = came
        meta = getattr(dataset, "file_meta", None) or Dataset()
        self.file_meta: Mapping[int, bytes] = {int(tag): raw_bytes(meta, int(tag)) for tag in list(meta.keys())}

    def raw(self, tag: int) -> bytes:
        """The bytes of a top-level value; of an already decoded element, text that changes whenever its content does."""
        return raw_bytes(self.dataset, tag)

    def tags(self) -> Iterable[int]:
        """The tags of the top level."""
        return map(int, self.dataset.keys())

    def vr(self, tag: int) -> str:
        """The VR as it was written, or as pydicom knows it; empty when the element is absent."""
        found = self.dataset.get_item(tag, keep_deferred=True) if tag in self.dataset else None
        return str(found.VR or "") if found is not None else ""
