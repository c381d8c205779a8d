"""Every page, who may see it, what it asks of the database, and what is refused."""

from __future__ import annotations

import re
import threading
from datetime import UTC, datetime

import pytest
from pgkit.wire import Wire
from statuskit.fleet import Step, add_node, add_satellite, furnish, hold, lease
from statuskit.served import Status, served
from waiting import until

from torpor_router.access import guesses
from torpor_router.access.errors import TooManyGuesses
from torpor_router.access.roles import Role
from torpor_router.status.rendering import Pages as Templates
from torpor_router.usage.prices import read
from torpor_statemachine.postgres.pool import Database
from torpor_statemachine.store.overview import PAGE

PATHS = ("/", "/satellites/acme/ios", "/wakes", "/failures", "/codes", "/nodes", "/usage")


async def test_every_page_says_what_the_fleet_does(status: Status) -> None:
    made = await furnish(status.database)
    texts = {}
    async with status.browser(await status.token()) as browser:
        for path in PATHS:
            async with browser.get(path) as answer:
                assert answer.status == 200, await answer.text()
                texts[path] = await answer.text()
    fleet = texts["/"]
    assert fleet.count('class="card ') == 40
    assert "4 streams · token:ci" in fleet
    assert "<b>29</b> asleep" in fleet
    assert "3 requests of token:ci" in fleet
    assert re.search(r"of usually 19s", fleet)
    satellite = texts["/satellites/acme/ios"]
    assert "acme/ios is running" in satellite
    assert "4 streams of token:ci /moby.buildkit.v1.Control/Solve" in satellite
    assert satellite.count('class="strip tall"') == 7
    assert "from hibernation" in texts["/wakes"]
    assert 'href="/codes#TPR-2205"' in texts["/failures"]
    assert "Run &#39;satellite repair NAME&#39;" in texts["/failures"]
    assert 'id="TPR-2205"' in texts["/codes"]
    assert str(made.node)[:8] in texts["/nodes"]
    assert "hours are of machines without a price" in texts["/usage"]


async def test_pages_are_made_beside_the_relay_s_loop(
    status: Status, monkeypatch: pytest.MonkeyPatch
) -> None:
    await furnish(status.database)
    render = Templates.render
    threads: dict[str, int] = {}

    def noted(self: Templates, name: str, **values: object) -> str:
        threads[name] = threading.get_ident()
        return render(self, name, **values)

    async with status.browser(await status.token()) as browser:
        monkeypatch.setattr(Templates, "render", noted)
        for path in PATHS:
            async with browser.get(path) as answer:
                assert answer.status == 200
    assert len(threads) == len(PATHS)
    assert threading.get_ident() not in threads.values()


async def test_money_is_that_of_the_usage(database: Database) -> None:
    await furnish(database)
    prices = read('currency = "EUR"\n[ec2.default]\nawake = 1\nasleep = 0\n')
    async with (
        served(database, prices=prices) as status,
        status.browser(await status.token()) as browser,
    ):
        async with browser.get("/usage?from=2026-01-01&to=2026-01-02") as answer:
            assert "0.00 EUR" in await answer.text()
        async with browser.get("/usage") as answer:
            text = await answer.text()
        told = {
            word: float(amount)
            for word, amount in re.findall(
                r"<dt>(saved|spent|always on)</dt><dd>([\d.]+) EUR", text
            )
        }
        assert told["spent"] > 1000
        assert told["saved"] == pytest.approx(told["always on"] - told["spent"], abs=0.011)
        for bad in ("from=x", "from=2020-01-01&to=2026-01-01", "from=2026-02-01&to=2026-01-01"):
            async with browser.get(f"/usage?{bad}") as answer:
                assert answer.status == 400


async def test_an_org_sees_its_own_and_an_operator_all(status: Status) -> None:
    await furnish(status.database)
    node = await add_node(status.database)
    other = await add_satellite(status.database, "globex/secret", "waking")
    await hold(status.database, node, [(other, "token:spy", 1, 1.0)])
    async with status.browser(await status.token("acme")) as browser:
        for path in PATHS:
            async with browser.get(path) as answer:
                text = await answer.text()
                assert answer.status == (404 if path == "/nodes" else 200), path
                assert "globex" not in text, path
                assert "spy" not in text, path
        async with browser.get("/satellites/globex/secret") as answer:
            refused = await answer.text()
            assert answer.status == 404
        async with browser.get("/satellites/globex/not-there") as answer:
            assert answer.status == 404
            assert (await answer.text()).replace("not-there", "secret") == refused


async def test_a_token_for_some_satellites_shows_those(status: Status) -> None:
    await furnish(status.database)
    _, text = await status.store.create_token("acme", "one", satellites=["ios"])
    async with status.browser(text) as browser:
        async with browser.get("/") as answer:
            page = await answer.text()
        assert page.count('class="card ') == 1
        assert "acme/android" not in page
        for path, expected in (("ios", 200), ("android", 404)):
            async with browser.get(f"/satellites/acme/{path}") as answer:
                assert answer.status == expected


async def test_who_may_not_look_is_not_signed_in(status: Status) -> None:
    ci = await status.token("acme", role=Role.CI)
    async with status.browser() as browser:
        for token, code in ((ci, "TPR-1130"), ("tpr_unknown", "TPR-1101"), ("", "TPR-1101")):
            async with browser.post("/signin", data={"token": token}) as answer:
                assert answer.status == 403
                assert code in await answer.text()
                assert not answer.cookies
        async with browser.get("/wakes", allow_redirects=False) as answer:
            assert (answer.status, answer.headers["Location"]) == (303, "/signin")
        async with browser.get("/live") as answer:
            assert answer.status == 401
            assert (await answer.text()).startswith("TPR-5501 ")


async def test_a_session_is_a_cookie_that_no_script_and_no_other_site_gets(status: Status) -> None:
    token = await status.token()
    async with status.browser() as browser:
        async with browser.post("/signin", data={"token": token}, allow_redirects=False) as answer:
            cookie = answer.headers["Set-Cookie"]
        for part in ("HttpOnly", "SameSite=Strict", "Path=/"):
            assert part in cookie
        assert "Secure" not in cookie  # this test speaks no TLS
        assert token not in cookie
        behind = {"X-Forwarded-Proto": "https"}
        async with browser.post(
            "/signin", data={"token": token}, headers=behind, allow_redirects=False
        ) as answer:
            assert "Secure" in answer.headers["Set-Cookie"]
        elsewhere = {"Sec-Fetch-Site": "cross-site"}
        for path in ("/signin", "/signout"):
            async with browser.post(path, data={"token": token}, headers=elsewhere) as answer:
                assert answer.status == 403
                assert "TPR-5505" in await answer.text()
    kept = await status.database.fetch("select id, token_hash from status_sessions")
    assert len(kept) == 2
    assert all(token.encode() not in bytes(value) for row in kept for value in row)


async def test_every_answer_has_the_headers_that_keep_it_safe(status: Status) -> None:
    async with status.browser(await status.token()) as browser:
        for path in ("/", "/signin", "/nothing", "/codes", "/static/status.js"):
            async with browser.get(path) as answer:
                policy = answer.headers["Content-Security-Policy"]
                assert "default-src 'none'" in policy
                assert "frame-ancestors 'none'" in policy
                assert "unsafe" not in policy
                assert answer.headers["X-Content-Type-Options"] == "nosniff"
                assert answer.headers["Referrer-Policy"] == "no-referrer"
                stored = answer.headers["Cache-Control"]
                assert stored == ("private, max-age=86400" if "static" in path else "no-store")
                text = await answer.text()
                if "static" not in path:
                    assert not re.search(r"<script>|<style|style=|\bon\w+=\"", text)


async def test_what_people_name_is_not_html(status: Status) -> None:
    evil = "<script>alert(1)</script>"
    node = await add_node(status.database)
    steps = [Step("wake", "asleep", "waking", datetime.now(UTC), evil, evil, detail=evil)]
    made = await add_satellite(
        status.database, "acme/one", "running", labels={evil: evil}, steps=steps
    )
    await lease(status.database, made, node, evil, 1)
    await hold(status.database, node, [(made, evil, 1, 1.0)])
    async with status.browser(await status.token()) as browser:
        for path in ("/", "/satellites/acme/one", "/failures", f"/?q={evil}", f"/{evil}"):
            async with browser.get(path) as answer:
                text = await answer.text()
                assert "<script>" not in text
                assert path == "/failures" or "&lt;script&gt;" in text, path


@pytest.mark.parametrize(
    ("path", "status_code", "code"),
    [
        ("/nothing", 404, "TPR-5502"),
        ("/static/../errors.py", 404, "TPR-5502"),
        ("/static/%2e%2e%2ferrors.py", 404, "TPR-5502"),
        ("/satellites/acme/one", 404, "TPR-5502"),
        ("/satellites/ACME/%00", 404, "TPR-5502"),
        ("/?state=drunk", 400, "TPR-5503"),
        ("/?after=x", 400, "TPR-5503"),
        ("/?q=%00", 400, "TPR-5503"),
        ("/?sort=name", 400, "TPR-5503"),
        ("/?q=" + "x" * 101, 400, "TPR-5503"),
        ("/?q=" + "x" * 2_000, 400, "TPR-5503"),
        ("/?q=" + "x" * 20_000, 400, ""),
    ],
)
async def test_what_cannot_be_shown_is_refused(
    status: Status, path: str, status_code: int, code: str
) -> None:
    async with status.browser(await status.token()) as browser:
        async with browser.get(path) as answer:
            assert answer.status == status_code
            assert code in await answer.text()
        async with browser.get("/") as answer:
            assert answer.status == 200


async def test_a_form_that_is_none_is_refused(status: Status) -> None:
    async with status.browser() as browser:
        async with browser.post("/signin", data={"token": "x" * 100_000}) as answer:
            assert answer.status == 400
            assert "TPR-5506" in await answer.text()
        async with browser.delete("/signin") as answer:
            assert answer.status == 404


async def test_guesses_are_bounded_as_at_the_door(
    status: Status, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guesses, "BURST", 3)
    monkeypatch.setattr(guesses, "REFILL", 0.0)
    async with status.browser() as browser:
        for number in range(5):
            async with browser.post("/signin", data={"token": f"tpr_{number}"}) as answer:
                assert answer.status == (429 if number >= 3 else 403)
                code = TooManyGuesses.code if number >= 3 else "TPR-1101"
                assert code in await answer.text()


async def test_sessions_that_nobody_has_are_guesses(
    status: Status, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guesses, "BURST", 3)
    monkeypatch.setattr(guesses, "REFILL", 0.0)
    async with status.browser(await status.token()) as known, status.browser() as stranger:
        [cookie] = list(known.cookie_jar)
        before = status.database.queries
        for number in range(6):
            wrong = {cookie.key: f"wrong-{number}"}
            if number % 2:
                asked = stranger.post("/signout", cookies=wrong, allow_redirects=False)
            else:
                asked = stranger.get("/", cookies=wrong, allow_redirects=False)
            async with asked as answer:
                assert answer.status == (429 if number >= 3 else 303)
                assert number < 3 or TooManyGuesses.code in await answer.text()
        assert status.database.queries - before == 3, "a look each, until there are too many"
        async with known.get("/codes") as answer:
            assert (answer.status, answer.url.path) == (200, "/codes")


async def test_five_thousand_satellites_are_one_statement_a_page(status: Status) -> None:
    await status.database.execute("insert into orgs (name) values ('acme')")
    await status.database.execute(
        "insert into satellites (org_id, name, provisioner, arch, state, labels)"
        " select orgs.id, 's' || n, 'local', 'x86_64',"
        " case when n % 10 = 0 then 'running' else 'asleep' end,"
        " jsonb_build_object('team', 't' || n % 7)"
        " from orgs, generate_series(1, 5000) as n"
    )
    async with status.browser(await status.token("acme")) as browser:
        for query, shown in (
            ("", PAGE),
            ("?q=s49", PAGE),
            ("?q=acme/s499", 11),
            ("?state=failed", 0),
            ("?state=running&label=team=t3", PAGE),
            ("?label=team", PAGE),
            ("?label=colour", 0),
        ):
            before = status.database.queries
            async with browser.get(f"/{query}") as answer:
                text = await answer.text()
            assert status.database.queries - before == 2, "its session, and the page"
            assert text.count('class="card ') == shown, query
            assert len(text) < 2_000 * PAGE + 20_000
        names: list[str] = []
        path = "/?q=acme/s1"
        while path:
            async with browser.get(path) as answer:
                text = await answer.text()
            names += re.findall(r'href="/satellites/acme/(\w+)"', text)
            found = re.search(r'href="(/\?[^"]*)" rel="next"', text)
            path = found[1].replace("&amp;", "&") if found else ""
        assert len(names) == len(set(names)) == 1111


async def test_the_other_pages_ask_a_few_statements(status: Status) -> None:
    await furnish(status.database)
    async with status.browser(await status.token()) as browser:
        for path, most in (*((each, 2) for each in PATHS), ("/satellites/acme/ios", 6)):
            if path == PATHS[1] and most == 2:
                continue
            before = status.database.queries
            async with browser.get(path) as answer:
                assert answer.status == 200
            assert status.database.queries - before <= most, path


async def test_without_the_database_the_page_says_what_was_seen(wire: Wire) -> None:
    async with Database(wire.url) as database, served(database, patience=2.0) as status:
        await furnish(database)
        async with status.browser(await status.token()) as browser:
            async with browser.get("/") as answer:
                assert answer.status == 200
            await wire.cut()
            async with browser.get("/") as answer:
                text = await answer.text()
                assert answer.status == 503
                assert "TPR-5205" in text
                assert "What you see was seen at" in text
                assert text.count('class="card ') == 40
            async with browser.get("/wakes") as answer:
                assert answer.status == 503
                assert "TPR-5205" in await answer.text()
        async with (
            status.browser() as browser,
            browser.post("/signin", data={"token": "tpr_x"}) as answer,
        ):
            assert answer.status == 503


async def test_signing_out_ends_the_session(status: Status) -> None:
    async with status.browser(await status.token()) as browser:
        [cookie] = list(browser.cookie_jar)
        async with browser.post("/signout") as answer:
            assert answer.url.path == "/signin"
        async with browser.get("/", cookies={cookie.key: cookie.value}) as answer:
            assert answer.url.path == "/signin"
    assert not await status.database.fetch("select from status_sessions")


async def test_a_revoked_token_ends_its_sessions(status: Status) -> None:
    token = await status.token("acme", "laptop")
    async with status.browser(token) as browser:
        await status.store.revoke_token("acme", "laptop")

        async def signed_out() -> bool:
            async with browser.get("/") as answer:
                return bool(answer.url.path == "/signin")

        await until(signed_out)
    assert not await status.database.fetch("select from status_sessions")


async def test_an_old_session_has_ended(status: Status) -> None:
    async with status.browser(await status.token()) as browser:
        await status.database.execute("update status_sessions set expires_at = now()")
        async with browser.get("/") as answer:
            assert answer.url.path == "/signin"
    assert await status.sessions.prune() == 1


async def test_a_token_has_so_many_sessions(status: Status) -> None:
    token = await status.token()
    for _ in range(23):
        async with status.browser(token):
            pass
    assert await status.database.fetchval("select count(*) from status_sessions") == 20
