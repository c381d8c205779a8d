"""The data path: one client connection paired with one satellite connection."""
