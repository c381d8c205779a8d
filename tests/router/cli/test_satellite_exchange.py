"""`satellite exchange`: a CI job's identity token, which GitHub may be asked for, for a token."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest
from documented import as_documented
from issuerkit.issuer import Issuer

from torpor_router.access.oidc.issuers import Issuers


@pytest.fixture
async def issuer() -> AsyncIterator[Issuer]:
    async with Issuer().running() as issuer:
        yield issuer


@pytest.fixture
def issuers(issuer: Issuer) -> Callable[[], Issuers]:
    return lambda: Issuers(time.monotonic, issuer.context)


@pytest.fixture
async def run(house: Any, issuer: Issuer) -> Any:
    """The command, in an org that trusts the issuer."""
    run, _ = house
    rule = ("--issuer", issuer.url, "--audience", "torpor", "--subject", "repo:acme/app:*")
    added = await run("trust", "add", "app", *rule, "--lifetime", "30m")
    assert added.exit_code == 0, added.stderr
    return run


class Github:
    """GitHub's endpoint of identity tokens, which every job finds in its environment."""

    def __init__(self) -> None:
        self.answer: tuple[int, bytes] = (200, b"")
        self.asked: list[tuple[str, str | None]] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.asked.append((self.path, self.headers["Authorization"]))
                status, body = outer.answer
                self.send_response(status)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        self._server = HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/token?api-version=2"
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


@pytest.fixture
def github(monkeypatch: pytest.MonkeyPatch) -> Iterator[Github]:
    made = Github()
    monkeypatch.setenv("ACTIONS_ID_TOKEN_REQUEST_URL", made.url)
    monkeypatch.setenv("ACTIONS_ID_TOKEN_REQUEST_TOKEN", "of the job")
    yield made
    made.close()


async def test_an_identity_token_becomes_a_token(run: Any, issuer: Issuer) -> None:
    done = await run("exchange", token=issuer.token())
    assert done.exit_code == 0, done.stderr
    assert done.stderr == "It lasts for 30m, and may do what ci of acme may.\n"
    token = done.stdout.removesuffix("\n")
    assert token.startswith("tpr_"), "alone on standard output"
    caller = json.loads((await run("whoami", "--json", token=token)).stdout)
    assert caller["caller"] == "oidc:repo:acme/app:ref:refs/heads/main"
    whole = await run("exchange", "--org", "acme", "--json", token=issuer.token())
    told = json.loads(whole.stdout)
    as_documented(told, "exchange")
    assert (told["org"], told["role"], told["expires_in"]) == ("acme", "ci", 1_800)


async def test_on_github_it_asks_for_the_identity_token(
    run: Any, issuer: Issuer, github: Github
) -> None:
    github.answer = 200, json.dumps({"value": issuer.token()}).encode()
    done = await run("exchange", token="")
    assert done.exit_code == 0, done.stderr
    assert done.stdout.startswith("tpr_")
    await run("exchange", "--audience", "a b&c", token="")
    assert github.asked == [
        ("/token?api-version=2&audience=torpor", "Bearer of the job"),
        ("/token?api-version=2&audience=a%20b%26c", "Bearer of the job"),
    ]
    assert (await run("exchange", token=issuer.token())).exit_code == 0
    assert len(github.asked) == 2, "what is given goes before"


@pytest.mark.parametrize(
    ("answer", "why"),
    [((403, b"no"), "403"), ((200, b"<html>"), "JSONDecodeError"), ((200, b"[]"), "TypeError")],
)
async def test_what_github_does_not_give(
    run: Any, github: Github, answer: tuple[int, bytes], why: str
) -> None:
    github.answer = answer
    done = await run("exchange", token="")
    assert (done.exit_code, done.stdout) == (4, "")
    assert done.stderr.startswith("TPR-1167 ")
    assert why in done.stderr
    assert "id-token: write" in done.stderr


async def test_what_is_not_exchanged(
    run: Any, issuer: Issuer, monkeypatch: pytest.MonkeyPatch
) -> None:
    for token, code in (
        ("", "TPR-1401"),
        ("tpr_" + "x" * 43, "TPR-1137"),
        (issuer.unsigned(), "TPR-1137"),
        (issuer.token(sub="repo:other/app"), "TPR-1138"),
    ):
        done = await run("exchange", token=token)
        assert (done.exit_code, done.stdout) == (3, ""), done.stderr
        assert done.stderr.startswith(f"{code} ")
    monkeypatch.setenv("ACTIONS_ID_TOKEN_REQUEST_URL", "file:///etc/passwd")
    assert (await run("exchange", token="")).stderr.startswith("TPR-1167 ")
