"""The spool: bytes in files, everything known about them in the ledger. Nothing else remembers."""
