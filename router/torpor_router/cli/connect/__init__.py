"""`satellite connect`: what a build client must be given to reach a satellite.

way.py       what recipes are made of: the door, the satellite, the files
recipes.py   the recipe of each client
jobs.py      the same as a job of GitHub Actions or GitLab
command.py   the command
"""
