"""Schema changes of the ledger, forward only."""
