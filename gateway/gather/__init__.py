"""Gathering: from the records of single instances to a study and to a patient's dossier.

Every function here is a function of the *set* of records, never of the order in which they arrived: that is what makes re-sends
and restarts harmless. No I/O, no clock.
"""
