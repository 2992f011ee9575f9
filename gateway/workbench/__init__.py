"""What hospital IT uses at the bench: sample data, sending, echo. Calls the pipeline, owns no logic of it."""
