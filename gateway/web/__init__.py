"""Every HTTP route (Starlette): FHIR REST, health, metrics, the front page. Asks the other rooms; decides nothing itself."""
