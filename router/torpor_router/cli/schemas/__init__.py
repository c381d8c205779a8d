"""The JSON schemas of what commands print with --json, written to docs/schemas by `make docs`.

answers.py  what each command prints
types.py    a type as a schema
"""
