"""Alembic's entry point for the book of tokens: the connection is handed over by :meth:`gateway.database.Database.migrate`."""

from alembic import context

context.configure(connection=context.config.attributes["connection"], transactional_ddl=True)
with context.begin_transaction():
    context.run_migrations()
