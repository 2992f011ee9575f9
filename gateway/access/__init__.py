"""How programs show who they are: signed assertions (SMART Backend Services), tokens given out for them, tokens of other issuers."""
