"""What operators and orgs decide about spending, and what follows from it.

budget.py    what an org has spent in a month, by the operator's prices (pure)
budgets.py   budgets in the database
watch.py     counts what was spent, on one router for all

Whether a satellite may be woken is decided by what these write (`store.permits` of the lifecycle).
"""
