"""Keeping what was received: originals that leave the spool and come back, bytes that rot, targets that lose what they held."""
