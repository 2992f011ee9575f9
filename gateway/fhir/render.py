"""From a gathered subject to a FHIR transaction bundle, through the templates of the mappings.

The bundle's entries are ``PUT Type/id`` with ids of our own, so that sending it again changes nothing. Nothing here reads a
clock: ``recorded`` is handed in. The same subject gives the same bytes.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Sequence

from gateway.errors import Quarantined
from gateway.fhir import endpoint
from gateway.fhir.facts import administration_scope, document_scope, grouped, result_scope
from gateway.fhir.identity import Identity
from gateway.fhir.policy import CLINICAL, IdentityPolicy
from gateway.fhir.provenance import provenance
from gateway.mapping.language import Mapping, Mappings
from gateway.mapping.template import ResourceTemplate
from gateway.model import Bundle, Document, DoseResult, Dossier, JsonObject, Study
from gateway.r4.bundles import bundle_hash, transaction
from gateway.r4.identifiers import system_of
from gateway.r4.validate import validate

#: Finds a mapping of a former version by its name.
Retired = Callable[[str], Mapping | None]

#: Told of each resource that a template made: template, scope, resource. For explaining only.
Witness = Callable[[ResourceTemplate, JsonObject, JsonObject], None]


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
        resources = _Resources(self._identity, self._witness)
        scope: JsonObject = {"patient": self._policy.patient(patient), "study": self._with_issuer(study.fields)}
        refs = resources.put_all(templates, "patient", scope, {})
        scope["series"] = [
            {
                **item.fields,
                "instances": list(item.instances),
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
        resources = _Resources(self._identity, self._witness)
        dossier = dataclasses.replace(dossier, patient=self._policy.patient(dossier.patient))
        told = {item.mapping for item in dossier.administrations} | {item.mapping for item in dossier.documents}
        templates = self._templates(sorted(told | {item.mapping for item in dossier.results}))
        patient_refs = resources.put_all(templates, "patient", {"patient": dossier.patient}, {})
        series_uids: set[str] = set()
        scopes: dict[str, JsonObject] = {}
        refs: dict[str, JsonObject] = {}
        for item in dossier.administrations:
            scopes[item.key] = administration_scope(item, dossier.patient, self._studies(item.study_uids))
            refs[item.key] = resources.put_all(self._templates((item.mapping,)), "administration", scopes[item.key], patient_refs)
            series_uids.update(item.series_uids)
        self._put_results(resources, dossier, scopes, {"": patient_refs, **refs})
        uids = sorted(series_uids | {uid for item in dossier.documents if (uid := str(item.fields.get("uid") or ""))})
        entities = [{"system": "urn:dicom:uid", "value": f"urn:oid:{uid}"} for uid in uids]
        key = f"dossier|{dossier.patient_key}"
        return self._finish(resources, key, patient_refs, entities, dossier.mapping_versions, recorded)

    def patient(self, patient: JsonObject, mappings: Iterable[str]) -> list[JsonObject]:
        """The Patient alone, by the templates of these mappings: for a dossier that has lost its facts."""
        resources = _Resources(self._identity, self._witness)
        resources.put_all(self._templates(sorted(set(mappings))), "patient", {"patient": self._policy.patient(patient)}, {})
        return self.released(resources.all)

    def released(self, resources: Iterable[JsonObject]) -> list[JsonObject]:
        """What the identity policy lets out, as it lets it out."""
        return [released for item in resources if (released := self._policy.release(item)) is not None]

    def bundle(self, resources: Sequence[JsonObject]) -> Bundle:
        """Released resources as a transaction. Raises :class:`Quarantined` when they are not valid FHIR."""
        _check(resources)
        return Bundle(body=transaction(resources), content_hash=bundle_hash(resources))

    def _put_results(
        self, resources: _Resources, dossier: Dossier, scopes: dict[str, JsonObject], refs: dict[str, JsonObject]
    ) -> None:
        """Documents and results. ``scopes`` are those of the administrations by id, ``refs`` what was made of them, "" of the patient.

        A document refers to its results and they refer to it, so all are named before one is rendered.
        """
        documents = {item.key: item for item in dossier.documents}
        named = {item.key: self._named_document(resources, item, dossier, scopes) for item in dossier.documents}
        made = {item.key: self._named_result(resources, item, documents, dossier, scopes) for item in dossier.results}
        groups = grouped(dossier.results, {key: reference for key, (_, reference) in made.items() if reference})
        for item in dossier.results:
            scope, _ = made[item.key]
            scope["result"]["related"] = groups[item.key]
            document_refs = named[item.document][1] if item.document in named else {}
            own = refs.get(item.administration or "") or refs[""]
            templates = [one for one in self._templates((item.mapping,)) if not one.kinds or item.kind in one.kinds]
            resources.put_all(templates, "result", scope, {**document_refs, **own})
        for document in dossier.documents:
            scope, _ = named[document.key]
            told = [made[item.key] for item in dossier.results if item.document == document.key]
            scope["results"] = [{**inner["result"], "reference": reference} for inner, reference in told if reference]
            only = refs.get(document.administrations[0]) if len(document.administrations) == 1 else None
            resources.put_all(self._templates((document.mapping,)), "document", scope, only or refs[""])

    def _named_document(
        self, resources: _Resources, item: Document, dossier: Dossier, scopes: dict[str, JsonObject]
    ) -> tuple[JsonObject, JsonObject]:
        told = [scopes[key]["administration"] for key in item.administrations if key in scopes]
        scope = document_scope(item, dossier.patient, self._studies((item.study_uid,) if item.study_uid else ()), told)
        return scope, resources.names(self._templates((item.mapping,)), "document", scope)

    def _named_result(
        self,
        resources: _Resources,
        item: DoseResult,
        documents: dict[str, Document],
        dossier: Dossier,
        scopes: dict[str, JsonObject],
    ) -> tuple[JsonObject, str | None]:
        """The scope of a result, and the reference of the Observation that it becomes."""
        administration = scopes.get(item.administration or "", {}).get("administration")
        scope = result_scope(item, documents[item.document], administration, dossier.patient, self._studies(item.study_uids))
        templates = [one for one in self._templates((item.mapping,)) if not one.kinds or item.kind in one.kinds]
        names = resources.names([one for one in templates if one.resource_type == "Observation"], "result", scope)
        return scope, next(iter(names.values()), None)

    def _studies(self, uids: Iterable[str]) -> list[JsonObject]:
        return [{"reference": f"ImagingStudy/{self._identity.resource_id('ImagingStudy', uid)}", "uid": uid} for uid in uids]

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
        resources: _Resources,
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


class _Resources:
    """The resources of one bundle: each id once, in the order in which references need them."""

    def __init__(self, identity: Identity, witness: Witness | None = None) -> None:
        self._identity = identity
        self._witness = witness
        self._by_id: dict[tuple[str, str], JsonObject] = {}

    @property
    def all(self) -> list[JsonObject]:
        return list(self._by_id.values())

    def references(self) -> list[str]:
        return [f"{kind}/{identifier}" for kind, identifier in self._by_id]

    def put(self, resource: JsonObject) -> None:
        self._by_id.setdefault((resource["resourceType"], resource["id"]), resource)

    def put_all(self, templates: Sequence[ResourceTemplate], per: str, scope: JsonObject, refs: JsonObject) -> JsonObject:
        """Render every template of this level. Returns ``refs`` with the new resources' names added."""
        known = dict(refs)
        wanted = [template for template in templates if template.per == per]
        identities = {template.name: self._identify(template, scope) for template in wanted}
        known.update({name: reference for name, reference in identities.items() if reference})
        for template in wanted:
            reference = identities[template.name]
            filled = {**scope, "refs": known}
            body = template.body.render(filled) if reference else None
            if reference and isinstance(body, dict):
                made = {"resourceType": template.resource_type, "id": reference.partition("/")[2], **body}
                self.put(made)
                if self._witness:
                    self._witness(template, filled, made)
        return known

    def names(self, templates: Sequence[ResourceTemplate], per: str, scope: JsonObject) -> JsonObject:
        """The references of what :meth:`put_all` will make, by the names of the templates."""
        wanted = [template for template in templates if template.per == per]
        return {one.name: reference for one in wanted if (reference := self._identify(one, scope))}

    def _identify(self, template: ResourceTemplate, scope: JsonObject) -> str | None:
        """``Type/id``, or None when the business identifier is absent: then there is nothing to publish."""
        parts = template.identify(scope)
        if parts is None:
            return None
        return f"{template.resource_type}/{self._identity.resource_id(template.resource_type, '|'.join(parts))}"


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
