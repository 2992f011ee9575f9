"""The embedded FHIR R4 store: resources with history, an index made from the official search parameters, transactions.

:class:`~gateway.store.store.FhirStore` is the only thing other rooms use. It runs on SQLite and on PostgreSQL.
"""

from gateway.store.search import Entry, Page
from gateway.store.store import FhirStore
from gateway.store.stored import Stored

__all__ = ["Entry", "FhirStore", "Page", "Stored"]
