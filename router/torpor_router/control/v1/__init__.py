"""Generated from torpor.proto by `make proto`."""
