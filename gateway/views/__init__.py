"""Tables from resources: SQL on FHIR v2 ViewDefinitions, those shipped for nuclear medicine and anybody's own.

:func:`~gateway.views.definition.read_view` compiles a definition, :func:`~gateway.views.run.run_view` runs it over the store,
:mod:`~gateway.views.formats` writes what comes out.
"""
