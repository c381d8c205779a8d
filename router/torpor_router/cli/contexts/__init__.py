"""Contexts: the routers that a person uses, each with its token and the satellite selected there.

errors.py   what is wrong with them (TPR-1160 to 1166)
book.py     contexts as values, read from JSON and written as JSON
file.py     the file that holds them: ``torpor/contexts.json`` in the user's folder for settings
choice.py   which context one command uses
"""
