"""Identity policy: what becomes of a patient's identity on its way out. The last step of rendering; nothing passes it by.

``clinical`` changes nothing and is the only one shipped. A pseudonymised research feed is a policy of its own with its own rendering,
sealed and delivered beside the clinical one: a policy is a property of a :class:`~gateway.fhir.render.Renderer`, so two feeds are two
renderers over the same gathered subjects (:meth:`gateway.understanding.Understanding.feed`).
"""

from __future__ import annotations

from typing import Protocol

from gateway.fhir.identity import Identity
from gateway.model import JsonObject


class IdentityPolicy(Protocol):
    """Must be a pure function of its inputs: the same subject gives the same bytes, whenever it is rendered."""

    @property
    def name(self) -> str:
        """How the settings call it (``identity.policy``)."""
        ...

    def identity(self, identity: Identity) -> Identity:
        """What resource ids are made with. A feed whose ids must not lead back to the clinical ones takes another key."""
        ...

    def patient(self, patient: JsonObject) -> JsonObject:
        """The demographics that templates see: ``key, id, id_system, name, birth_date, gender``. ``key`` decides the Patient's id."""
        ...

    def release(self, resource: JsonObject) -> JsonObject | None:
        """A finished resource, with its business identifiers, dates and free text as they may leave; None when it must stay."""
        ...


class Clinical:
    """Everything leaves as it is: for stores inside the hospital's treatment context."""

    name = "clinical"

    def identity(self, identity: Identity) -> Identity:
        return identity

    def patient(self, patient: JsonObject) -> JsonObject:
        return patient

    def release(self, resource: JsonObject) -> JsonObject | None:
        return resource


CLINICAL: IdentityPolicy = Clinical()

#: The policies that ``identity.policy`` may name.
POLICIES: dict[str, IdentityPolicy] = {CLINICAL.name: CLINICAL}
