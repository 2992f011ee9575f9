"""One object and its mapping -> a Record. Pure: no files, no clock, no network."""
