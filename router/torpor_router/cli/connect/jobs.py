"""A client's recipe as a CI job without a secret (docs/ci.md)."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from textwrap import indent

from torpor_router.cli.connect.way import YOUR_TOKEN, Recipe, Way

AUDIENCE = "torpor"
_TRUST = (
    "An admin has told the router once whom the org trusts: 'satellite trust add', audience"
    f" {AUDIENCE}."
)


def github_actions(way: Way, recipe: Recipe) -> Recipe:
    text = f"""\
permissions:
  id-token: write
  contents: read
{_variables(way, recipe, "env", 0)}steps:
  - name: Token for the satellite
    run: |
      token=$(curl -sSf -H "Authorization: Bearer $ACTIONS_ID_TOKEN_REQUEST_TOKEN" \\
        "$ACTIONS_ID_TOKEN_REQUEST_URL&audience={AUDIENCE}" | jq -r .value)
      echo "::add-mask::$token"
      echo "TORPOR_TOKEN=$token" >> "$GITHUB_ENV"
  - name: Build
    run: |
{indent(recipe.commands, " " * 6)}"""
    ends = (
        "The identity token is good for minutes: begin the build right after it. What is open then"
        " goes on."
    )
    return _job(recipe, "github-actions", text, ends)


def gitlab(way: Way, recipe: Recipe) -> Recipe:
    text = f"""\
build:
{_variables(way, recipe, "variables", 2)}  id_tokens:
    TORPOR_TOKEN:
      aud: {AUDIENCE}
  script:
    - |
{indent(recipe.commands, " " * 6)}"""
    return _job(recipe, "gitlab", text, "The identity token is good until the job's time-out.")


def _variables(way: Way, recipe: Recipe, key: str, columns: int) -> str:
    """What the 'satellite' command of the recipe needs, if one is in it."""
    if not recipe.certificate:
        return ""
    variables = {"TORPOR_ADDRESS": way.target, **({"TORPOR_CA": way.ca} if way.ca else {})}
    lines = [f"  {name}: {json.dumps(value)}" for name, value in variables.items()]
    return indent("\n".join((f"{key}:", *lines, "")), " " * columns)


def _job(recipe: Recipe, client: str, text: str, ends: str) -> Recipe:
    notes = tuple(note for note in recipe.notes if note != YOUR_TOKEN)
    if recipe.certificate:
        ends = f"{ends} The certificate ends with it. The job needs the 'satellite' command."
    return replace(recipe, client=client, commands=text, notes=(_TRUST, ends, *notes))


JOBS: dict[str, Callable[[Way, Recipe], Recipe]] = {
    "github-actions": github_actions,
    "gitlab": gitlab,
}
