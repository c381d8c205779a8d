"""What satellites cost, and what they would have cost had they never slept.

`prices` reads what an hour costs; `report` adds up the days that `torpor_statemachine.store.usage`
counts. Both are pure.
"""
