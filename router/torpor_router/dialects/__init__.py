"""What single clients do that no protocol tells: one module a client.

The relay knows nothing of them.

bazel.py  calls that leave their metadata out, and what answers the first of them
"""
