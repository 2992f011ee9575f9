"""The resources of one bundle on their way: each id once, rendered from templates, in the order in which references need them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from gateway.fhir.identity import Identity
from gateway.mapping.template import ResourceTemplate
from gateway.model import JsonObject

#: Told of each resource that a template made: template, scope, resource. For explaining only.
Witness = Callable[[ResourceTemplate, JsonObject, JsonObject], None]


class Resources:
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
