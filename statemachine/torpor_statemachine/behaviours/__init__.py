"""What the holder of a claim does, one file a state; each ends the claim or leaves it to lapse."""
