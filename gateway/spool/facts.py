"""Administrations and results as the ledger remembers them: their names, and which of two that proved to be one was given up."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from sqlalchemy.engine import Connection

from gateway.database import Database


class Facts:
    def __init__(self, database: Database) -> None:
        self._database = database
        self._sql = database.statements(Path(__file__).parent / "sql" / "facts.sql")

    def aliases(self, patient_key: str) -> dict[str, str]:
        """Known administrations of a patient: alias (event UID or fact key) -> administration id."""
        with self._database.read() as connection:
            rows = connection.execute(self._sql["select_alias"], {"patient_key": patient_key})
            return {row.alias: row.administration_id for row in rows}

    def replaced(self, patient_key: str) -> dict[str, str]:
        """Administrations of a patient that were given up: lost id -> surviving id."""
        with self._database.read() as connection:
            rows = connection.execute(self._sql["select_replaced"], {"patient_key": patient_key})
            return {row.id: row.replaced_by for row in rows}

    def result_aliases(self, patient_key: str) -> dict[str, str]:
        """Known results of a patient: alias -> result id."""
        with self._database.read() as connection:
            rows = connection.execute(self._sql["select_result_alias"], {"patient_key": patient_key})
            return {row.alias: row.dose_result_id for row in rows}

    def replaced_results(self, patient_key: str) -> dict[str, str]:
        """Results of a patient that were given up: lost id -> surviving id."""
        with self._database.read() as connection:
            rows = connection.execute(self._sql["select_replaced_results"], {"patient_key": patient_key})
            return {row.id: row.replaced_by for row in rows}

    def store_results(
        self,
        connection: Connection,
        patient_key: str,
        *,
        aliases: Mapping[str, str],
        replaced: Mapping[str, str],
        active: Iterable[str],
    ) -> None:
        """The same as :meth:`store`, for results."""
        rows = [{"id": key, "patient_key": patient_key, "alias": alias} for alias, key in sorted(aliases.items())]
        if rows:
            connection.execute(self._sql["insert_result"], rows)
            connection.execute(self._sql["put_result_alias"], rows)
        connection.execute(self._sql["enter_results_in_error"], {"patient_key": patient_key})
        in_use = [{"id": key} for key in sorted(active)]
        if in_use:
            connection.execute(self._sql["activate_result"], in_use)
        lost = [{"id": key, "patient_key": patient_key, "survivor": kept} for key, kept in sorted(replaced.items())]
        if lost:
            connection.execute(self._sql["replace_result"], lost)

    def store(
        self,
        connection: Connection,
        patient_key: str,
        *,
        aliases: Mapping[str, str],
        replaced: Mapping[str, str],
        active: Iterable[str],
    ) -> None:
        """Remember what gathering a dossier came to, inside the caller's transaction.

        Names that are new or lead elsewhere now, the ids in use (``active``), and what was lost to which survivor. All other facts of
        the patient are entered in error: their sources say so no more.
        """
        for alias, identifier in sorted(aliases.items()):
            row = {"id": identifier, "patient_key": patient_key, "alias": alias}
            connection.execute(self._sql["insert_administration"], row)
            connection.execute(self._sql["put_alias"], row)
        connection.execute(self._sql["enter_in_error"], {"patient_key": patient_key})
        for identifier in sorted(active):
            connection.execute(self._sql["activate"], {"id": identifier})
        for lost, survivor in sorted(replaced.items()):
            row = {"id": lost, "patient_key": patient_key, "survivor": survivor}
            connection.execute(self._sql["replace_administration"], row)
