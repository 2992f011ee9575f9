"""From a gathered subject to a FHIR transaction bundle, through the templates of the mappings.

The bundle's entries are ``PUT Type/id`` with ids of our own, so that sending it again changes nothing. Nothing here reads a
clock: ``recorded`` is handed in. The same subject gives the same bytes.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Sequence
from collections.abc import Mapping as MappingOf
from functools import partial

from gateway.errors import Quarantined
from gateway.fhir import endpoint
from gateway.fhir.dosimetry import Room, put_results
from gateway.fhir.facts import administration_scope
from gateway.fhir.identity import Identity
from gateway.fhir.policy import CLINICAL, IdentityPolicy
from gateway.fhir.profiles import claimed
from gateway.fhir.provenance import provenance
from gateway.fhir.resources import Resources, Witness
from gateway.mapping.language import Mapping, Mappings
from gateway.mapping.template import ResourceTemplate
from gateway.model import Bundle, Document, Dossier, JsonObject, Study
from gateway.r4.bundles import bundle_hash, transaction
from gateway.r4.identifiers import system_of
from gateway.r4.validate import validate

__all__ = ["Renderer", "Retired", "Witness"]

#: Finds a mapping of a former version by its name.
Retired = Callable[[str], Mapping | None]


class Renderer:
    """Renders subjects with one set of mappings under one identity."""

    def __init__(
        self,
        mappings: Mappings,
        identity: Identity,
        *,
        accession_system: str,
        policy: IdentityPolicy = CLINICAL,
        images_at: str | None = None,
        witness: Witness | None = None,
        version: str | None = None,
        retired: Retired | None = None,
    ) -> None:
        self._mappings = mappings
        self._minting = identity
        self._identity = policy.identity(identity)
        self._policy = policy
        self._accession_system = accession_system
        self._images_at = images_at  #: DICOMweb address that ImagingStudy.endpoint leads to
        self._witness = witness
        self._version = version  #: of the deployed set of mappings
        self._retired = retired

    def mint(self, alias: str) -> str:
        """A new administration's id, from the name its first source knows it by."""
        return self._minting.resource_id("administration", alias)

    def resource_id(self, resource_type: str, business_key: str) -> str:
        """The id under which this renderer's feed knows a resource."""
        return self._identity.resource_id(resource_type, business_key)

    def with_policy(self, policy: IdentityPolicy) -> Renderer:
        """The same rendering for another feed."""
        return self._like(policy=policy)

    def with_mappings(self, mappings: Mappings) -> Renderer:
        """The same identity with other mappings."""
        return self._like(mappings=mappings)

    def with_witness(self, witness: Witness) -> Renderer:
        """The same rendering, with somebody who is told which template made what from what."""
        return self._like(witness=witness)

    def deployed(self, version: str, retired: Retired) -> Renderer:
        """The same mappings as a deployed version, and who knows those that records of former versions name."""
        return self._like(version=version, retired=retired)

    def _like(
        self,
        *,
        mappings: Mappings | None = None,
        policy: IdentityPolicy | None = None,
        witness: Witness | None = None,
        version: str | None = None,
        retired: Retired | None = None,
    ) -> Renderer:
        return Renderer(
            mappings or self._mappings,
            self._minting,
            accession_system=self._accession_system,
            policy=policy or self._policy,
            images_at=self._images_at,
            witness=witness or self._witness,
            version=version or self._version,
            retired=retired or self._retired,
        )

    def study(self, study: Study, patient: JsonObject, *, recorded: str) -> Bundle:
        """Patient, devices, ImagingStudy and Provenance of one study."""
        templates = self._templates(study.mappings)
        resources = Resources(self._identity, self._witness)
        scope: JsonObject = {"patient": self._policy.patient(patient), "study": self._with_issuer(study.fields)}
        refs = resources.put_all(templates, "patient", scope, {})
        scope["series"] = [
            {
                **item.fields,
                "instances": list(item.instances),
                "suv": item.suv,
                "refs": resources.put_all(templates, "device", {"device": _device(item.device)}, refs),
            }
            for item in study.series
        ]
        endpoint_refs = self._endpoint()
        study_refs = resources.put_all(templates, "study", scope, {**refs, **endpoint_refs})
        for item in scope["series"]:
            inner = {"series": item, "study": scope["study"], "patient": scope["patient"]}
            resources.put_all(templates, "series", inner, {**study_refs, **item["refs"]})
        entity = {"system": "urn:dicom:uid", "value": f"urn:oid:{study.uid}"}
        return self._finish(resources, f"study|{study.uid}", study_refs, [entity], study.mapping_versions, recorded)

    def _endpoint(self) -> JsonObject:
        """``{"endpoint": reference}``, or nothing when no address is known."""
        if self._images_at is None:
            return {}
        return {"endpoint": f"Endpoint/{self._identity.resource_id('Endpoint', endpoint.BUSINESS_KEY)}"}

    def _with_issuer(self, fields: JsonObject) -> JsonObject:
        """An accession number is unique only within its issuer (0008,0051); without one it is the site's own."""
        issuer = str(fields.get("accession_issuer") or "")
        if not fields.get("accession"):
            return fields
        return {**fields, "accession_issuer": system_of(issuer, self._accession_system)}

    def dossier(self, dossier: Dossier, *, recorded: str) -> Bundle:
        """Patient, administrations, documents and results of dosimetry, and Provenance of one dossier."""
        resources = Resources(self._identity, self._witness)
        dossier = dataclasses.replace(dossier, patient=self._policy.patient(dossier.patient))
        told = {item.mapping for item in dossier.administrations} | {item.mapping for item in dossier.documents}
        templates = self._templates(sorted(told | {item.mapping for item in dossier.results}))
        patient_refs = resources.put_all(templates, "patient", {"patient": dossier.patient}, {})
        series_uids: set[str] = set()
        scopes: dict[str, JsonObject] = {}
        refs: dict[str, JsonObject] = {}
        studies_of = partial(self._studies, orders=dossier.orders)
        for item in dossier.administrations:
            studies = studies_of(item.study_uids)
            scopes[item.key] = administration_scope(item, dossier.patient, studies, dossier.documents, dossier.results)
            refs[item.key] = resources.put_all(self._templates((item.mapping,)), "administration", scopes[item.key], patient_refs)
            series_uids.update(item.series_uids)
        room = Room(resources, lambda name: self._templates((name,)), studies_of, self._reference, self._images_at)
        put_results(room, dossier, scopes, {"": patient_refs, **refs})
        uids = sorted(series_uids | {uid for item in dossier.documents if (uid := _object_uid(item))})
        entities = [{"system": "urn:dicom:uid", "value": f"urn:oid:{uid}"} for uid in uids]
        digests = {str(item.fields["digest"]) for item in dossier.documents if "digest" in item.fields}
        entities += [{"system": "urn:isobridge:table", "value": digest} for digest in sorted(digests)]
        key = f"dossier|{dossier.patient_key}"
        return self._finish(resources, key, patient_refs, entities, dossier.mapping_versions, recorded)

    def patient(self, patient: JsonObject, mappings: Iterable[str]) -> list[JsonObject]:
        """The Patient alone, by the templates of these mappings: for a dossier that has lost its facts."""
        resources = Resources(self._identity, self._witness)
        resources.put_all(self._templates(sorted(set(mappings))), "patient", {"patient": self._policy.patient(patient)}, {})
        return self.released(resources.all)

    def released(self, resources: Iterable[JsonObject]) -> list[JsonObject]:
        """What the identity policy lets out, as it lets it out, each with the profile that it fulfils then."""
        return [claimed(released) for item in resources if (released := self._policy.release(item)) is not None]

    def bundle(self, resources: Sequence[JsonObject]) -> Bundle:
        """Released resources as a transaction. Raises :class:`Quarantined` when they are not valid FHIR."""
        _check(resources)
        return Bundle(body=transaction(resources), content_hash=bundle_hash(resources))

    def _reference(self, resource_type: str, business_key: str) -> str:
        return f"{resource_type}/{self._identity.resource_id(resource_type, business_key)}"

    def _studies(self, uids: Iterable[str], orders: MappingOf[str, JsonObject]) -> list[JsonObject]:
        return [
            {"reference": self._reference("ImagingStudy", uid), "uid": uid, **self._with_issuer(orders.get(uid, {}))}
            for uid in uids
        ]

    def _templates(self, names: Iterable[str]) -> list[ResourceTemplate]:
        """The resource templates of these mappings; one inherited by several counts once."""
        found: dict[str, ResourceTemplate] = {}
        for name in names:
            for template in self._mapping(name).resources.values():
                found.setdefault(template.name, template)
        return list(found.values())

    def _mapping(self, name: str) -> Mapping:
        """In force, or a former one that read what stands in a record. Raises :class:`Quarantined` when nobody knows it any more."""
        try:
            return self._mappings.named(name)
        except KeyError:
            former = self._retired(name) if self._retired else None
        if former is None:
            raise Quarantined(
                f"The mapping '{name}' that read this is not in force any more; deploy it again, or 'isobridge replay'."
            )
        return former

    def _finish(
        self,
        resources: Resources,
        subject: str,
        refs: JsonObject,
        entities: Sequence[JsonObject],
        mapping_versions: Sequence[str],
        recorded: str,
    ) -> Bundle:
        targets = resources.references()
        if targets:
            identifier = self._identity.resource_id("Provenance", subject)
            resources.put(
                provenance(
                    identifier,
                    targets=targets,
                    entities=entities,
                    mappings=mapping_versions,
                    recorded=recorded,
                    deployed=self._version,
                )
            )
        if self._images_at is not None and "endpoint" in refs:  # after the Provenance: no DICOM object made it
            resources.put(endpoint.endpoint(refs["endpoint"].partition("/")[2], self._images_at))
        return self.bundle(self.released(resources.all))


def _device(fields: JsonObject) -> JsonObject:
    """A device as configured: its key holds everything we say of it, so an upgrade is a new device, not a rewritten one."""
    if not any(fields.get(name) for name in ("manufacturer", "model", "serial", "station")):
        return {}  # nobody could tell which device that is
    words = [f"{name}={value}" for name, value in sorted(fields.items()) if value]
    return {**fields, "key": "|".join(words)}


def _check(resources: Iterable[JsonObject]) -> None:
    """Nothing invalid leaves the house. Raises :class:`Quarantined` with the first complaints."""
    complaints = [f"{resource['resourceType']}: {text}" for resource in resources for text in validate(resource)]
    if complaints:
        raise Quarantined("The mappings gave FHIR that is not valid: " + "; ".join(complaints[:3]))


def _object_uid(document: Document) -> str:
    """The SOP Instance UID of a document that is a DICOM object; a table has only a name of ours."""
    return "" if "digest" in document.fields else str(document.fields.get("uid") or "")
