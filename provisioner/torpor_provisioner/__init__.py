"""Turns launch, wake, sleep and terminate into calls to a cloud, or to this machine."""
