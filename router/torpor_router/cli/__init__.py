"""The commands: `torpor` for the platform team, `satellite` for those who own satellites."""
