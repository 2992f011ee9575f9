"""The embedded FHIR R4 store: resources with history, an index made from the official search parameters, transactions.

:class:`~gateway.store.store.FhirStore` is the only thing other rooms use. It runs on SQLite and on PostgreSQL.
"""

from gateway.store.search import Entry, Page, Stored
from gateway.store.store import FhirStore

__all__ = ["Entry", "FhirStore", "Page", "Stored"]
