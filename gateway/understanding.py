"""How one site reads DICOM and writes FHIR: mappings, zone, patient keys, identity. Pure; shared by the daemon and the workbench."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from gateway.config import Derive, Settings, no_mappings
from gateway.dicom.reading import Header, read_header
from gateway.errors import Misconfigured
from gateway.fhir.identity import Identity, load_or_create_key
from gateway.fhir.policy import POLICIES, IdentityPolicy
from gateway.fhir.provenance import decision_provenance, word_provenance
from gateway.fhir.render import Renderer
from gateway.fhir.retract import about, cancelled, fact_references, reference_of, retractions
from gateway.gather.dossier import gather_dossier
from gateway.gather.patient import PatientKeys, demographics
from gateway.mapping.language import Mapping as MappingRules
from gateway.mapping.language import Mappings, load
from gateway.model import Bundle, Came, DeclaredCycles, Dossier, JsonObject, PersonsWord, Record, SharedFields, Study
from gateway.normalise.record import SiteContext, normalise
from gateway.r4.bundles import resources_of
from gateway.spool.standing import Decision
from gateway.tables.library import NO_ADAPTERS, Adapters, load_adapters


@dataclass(frozen=True, slots=True, kw_only=True)
class Past:
    """What happened to a subject before: what was sealed of it last, and what people decided."""

    resources: Sequence[JsonObject] = ()
    decisions: Sequence[Decision] = ()
    said: Sequence[PersonsWord] = ()  #: about facts of a dossier
    withdrawn: bool = False


NO_PAST = Past()


@dataclass(frozen=True, slots=True)
class Charset:
    """How text of a sender is read where it declares no known character set; ``instead``: whatever it declares."""

    terms: str
    instead: bool


@dataclass(frozen=True, slots=True)
class Understanding:
    """Everything the stages need to know about a site."""

    mappings: Mappings
    site: SiteContext
    patients: PatientKeys
    renderer: Renderer
    derive: Derive = dataclasses.field(default_factory=Derive)
    adapters: Adapters = NO_ADAPTERS
    charsets: Mapping[str, Charset] = dataclasses.field(default_factory=dict)  #: of senders that do not say what they write

    def read(self, path: Path, came: Came | None = None) -> Record:
        """One file -> what a mapping reads from it. Raises :class:`~gateway.errors.Quarantined`."""
        return self.understand(read_header(path), came)

    def understand(self, header: Header, came: Came | None = None) -> Record:
        """The same for an opened file. ``came`` is how the ledger says that it came; else only its file header tells."""
        header.came = came or header.came
        if charset := self.charsets.get(header.came.calling_ae):
            header.assume_charset(charset.terms, instead=charset.instead)
        return normalise(header, self.mappings.for_header(header), self.site)

    def study_bundle(
        self, study: Study, patient_records: Sequence[SharedFields], *, recorded: str, past: Past = NO_PAST
    ) -> Bundle:
        """A study as FHIR, with what people decided about it and what of the past it takes back."""
        if not self.derive.suv_factor:
            study = dataclasses.replace(study, series=tuple(dataclasses.replace(item, suv={}) for item in study.series))
        bundle = self.renderer.study(study, demographics(study.patient_key, patient_records), recorded=recorded)
        fresh = resources_of(bundle.body)
        return self._corrected(bundle, cancelled(fresh) if past.withdrawn else fresh, f"study|{study.uid}", past)

    def lost_study(self, uid: str, past: Past) -> Bundle | None:
        """A study of which nothing is left: what was published of it is cancelled."""
        return self._corrected(None, [], f"study|{uid}", past) if past.resources else None

    def dossier(
        self,
        patient_key: str,
        records: Sequence[SharedFields],
        known: Mapping[str, str],
        replaced: Mapping[str, str] | None = None,
        *,
        known_results: Mapping[str, str] | None = None,
        replaced_results: Mapping[str, str] | None = None,
        declared: Sequence[DeclaredCycles] = (),
    ) -> Dossier:
        return gather_dossier(
            patient_key,
            records,
            known=known,
            replaced=replaced,
            mint=self.renderer.mint,
            known_results=known_results,
            replaced_results=replaced_results,
            declared=declared,
        )

    def dossier_bundle(
        self, dossier: Dossier, records: Sequence[SharedFields], *, recorded: str, past: Past = NO_PAST
    ) -> Bundle | None:
        """A dossier as FHIR; None when there is nothing to say and never was. Facts that are gone are entered in error."""
        subject, replaced = f"dossier|{dossier.patient_key}", {**dossier.replaced, **dossier.replaced_results}
        if dossier.administrations or dossier.results or dossier.documents:
            bundle = self.renderer.dossier(dossier, recorded=recorded)
            return self._corrected(bundle, resources_of(bundle.body), subject, past, replaced)
        if not past.resources:
            return None
        patient = self.renderer.patient(dossier.patient, [record.mapping for record in records])
        return self._corrected(None, patient, subject, past, replaced)

    def feed(self, policy: IdentityPolicy) -> Understanding:
        """The same site for a feed with another identity policy."""
        return dataclasses.replace(self, renderer=self.renderer.with_policy(policy))

    def deployed(self, version: str, retired: Callable[[str], MappingRules | None]) -> Understanding:
        """The same, by a deployed version; ``retired`` gives mappings of former versions that records still name."""
        return dataclasses.replace(self, renderer=self.renderer.deployed(version, retired))

    def with_mappings(self, mappings: Mappings) -> Understanding:
        """The same site with other mappings."""
        return dataclasses.replace(self, mappings=mappings, renderer=self.renderer.with_mappings(mappings))

    def _corrected(
        self,
        bundle: Bundle | None,
        fresh: Sequence[JsonObject],
        subject: str,
        past: Past,
        replaced: Mapping[str, str] | None = None,
    ) -> Bundle:
        resources = [*fresh, *retractions(past.resources, fresh, replaced)]
        words = [*self._decisions(resources, subject, past.decisions), *self._said(resources, past.said)]
        resources += self.renderer.released(words)
        return bundle if bundle is not None and resources == resources_of(bundle.body) else self.renderer.bundle(resources)

    def _decisions(self, resources: Sequence[JsonObject], subject: str, decisions: Sequence[Decision]) -> Iterator[JsonObject]:
        """A Provenance for each decision that concerned facts of this subject."""
        held = {reference_of(item) for item in resources}
        for decision in decisions:
            study = f"ImagingStudy/{self.renderer.resource_id('ImagingStudy', decision.study_uid)}"
            targets = [study] if study in held else about(resources, study)
            if targets:
                name = f"decision|{decision.study_uid}|{decision.kind}|{decision.decided_at}|{subject}"
                yield decision_provenance(self.renderer.resource_id("Provenance", name), decision, targets=targets)

    def _said(self, resources: Sequence[JsonObject], said: Sequence[PersonsWord]) -> Iterator[JsonObject]:
        """A Provenance for each word of a person about facts that are published."""
        facts = fact_references(resources)
        for one in said:
            targets = [facts[key] for key in dict.fromkeys(one.facts) if key in facts]
            if targets:
                yield word_provenance(self.renderer.resource_id("Provenance", f"said|{one.key}"), one, targets=targets)


def understanding(settings: Settings, *, images_at: str | None = None, directory: Path | None = None) -> Understanding:
    """Built from the settings. ``images_at`` is the DICOMweb address that studies lead to, if any.

    ``directory`` holds the mappings; without it the folder that people work in. Raises :class:`~gateway.errors.Misconfigured` with every
    complaint of every mapping file.
    """
    directory = directory or settings.mappings.directory
    if not directory.is_dir():
        raise Misconfigured(no_mappings(directory))
    mappings = load(directory)
    identity = Identity(load_or_create_key(settings.key_file))
    return Understanding(
        mappings=mappings,
        site=SiteContext(timezone=settings.site.zone),
        patients=PatientKeys(system=settings.site.patient_id_system),
        renderer=Renderer(
            mappings,
            identity,
            accession_system=settings.site.accession_system,
            policy=POLICIES[settings.identity.policy],
            images_at=images_at,
        ),
        derive=settings.derive,
        adapters=load_adapters(directory, mappings.codes),
        charsets={one.ae_title: Charset(one.charset, one.charset_for == "all") for one in settings.senders if one.charset},
    )
