"""How one site reads DICOM and writes FHIR: mappings, zone, patient keys, identity. Pure; shared by the daemon and the workbench."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from gateway.config import Settings
from gateway.dicom.reading import Header, read_header
from gateway.errors import Misconfigured
from gateway.fhir.identity import Identity, load_or_create_key
from gateway.fhir.render import Renderer
from gateway.gather.dossier import gather_dossier
from gateway.gather.patient import PatientKeys, demographics
from gateway.mapping.language import Mappings, load
from gateway.model import Bundle, Dossier, Record, SharedFields, Study
from gateway.normalise.record import SiteContext, normalise


@dataclass(frozen=True, slots=True)
class Understanding:
    """Everything the stages need to know about a site."""

    mappings: Mappings
    site: SiteContext
    patients: PatientKeys
    renderer: Renderer

    def read(self, path: Path) -> Record:
        """One file -> what a mapping reads from it. Raises :class:`~gateway.errors.Quarantined`."""
        return self.understand(read_header(path))

    def understand(self, header: Header) -> Record:
        return normalise(header, self.mappings.for_header(header), self.site)

    def study_bundle(self, study: Study, patient_records: Sequence[SharedFields], *, recorded: str) -> Bundle:
        return self.renderer.study(study, demographics(study.patient_key, patient_records), recorded=recorded)

    def dossier(self, patient_key: str, records: Sequence[SharedFields], known: Mapping[str, str]) -> Dossier:
        return gather_dossier(patient_key, records, known=known, mint=self.renderer.mint)


def understanding(settings: Settings, *, images_at: str | None = None) -> Understanding:
    """Built from the settings. ``images_at`` is the DICOMweb address that studies lead to, if any.

    Raises :class:`~gateway.errors.Misconfigured` with every complaint of every mapping file.
    """
    if not settings.mappings.directory.is_dir():
        raise Misconfigured(f"mappings.directory: there is no folder {settings.mappings.directory}; set it to your mapping files")
    mappings = load(settings.mappings.directory)
    identity = Identity(load_or_create_key(settings.key_file))
    return Understanding(
        mappings=mappings,
        site=SiteContext(timezone=settings.site.zone),
        patients=PatientKeys(system=settings.site.patient_id_system),
        renderer=Renderer(mappings, identity, accession_system=settings.site.accession_system, images_at=images_at),
    )
