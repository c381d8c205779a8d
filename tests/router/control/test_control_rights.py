"""Every call by every role: of the own org, of another's, with a revoked token, and audited."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import grpc
import pytest
from clientkit.untyped import untyped
from controlkit.fakes import ACME, FakeCaller, FakeFleet, asleep
from cryptography.fernet import Fernet
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message_factory import GetMessageClass
from issuerkit.issuer import Issuer

from torpor_provisioner.contract import Address
from torpor_router.access.audit import Audit
from torpor_router.access.ca.authority import ClientAuthority
from torpor_router.access.ca.errors import NoAuthority, NotOnRecord
from torpor_router.access.ca.keys import keep_authority
from torpor_router.access.ca.places import Places
from torpor_router.access.ca.requests import new_request
from torpor_router.access.directory import Directory
from torpor_router.access.errors import TokenForOthers
from torpor_router.access.issued import IssuedCertificates
from torpor_router.access.issuing import Issuing
from torpor_router.access.members import Members
from torpor_router.access.oidc.exchange import Exchange
from torpor_router.access.oidc.issuers import Issuers
from torpor_router.access.oidc.store import TrustRules
from torpor_router.access.roles import RIGHTS, Role
from torpor_router.access.store import Store
from torpor_router.control.access_calls import AccessCalls
from torpor_router.control.adapter import ACCESS, OPERATORS, SATELLITES, USAGE, WEBHOOKS
from torpor_router.control.operator_calls import OperatorCalls
from torpor_router.control.rights import NEEDS
from torpor_router.control.server import ControlServer
from torpor_router.control.usage_calls import UsageCalls
from torpor_router.control.v1 import access_pb2 as pb
from torpor_router.control.webhook_calls import WebhookCalls
from torpor_router.notices.sealing import Seal
from torpor_router.notices.webhooks import Webhooks
from torpor_router.routing import Ask, Certificate
from torpor_router.usage.prices import NO_PRICES
from torpor_statemachine.store.usage import Usage

LONG = 30.0
WITHOUT_CREDENTIALS = {"Access.Exchange"}
TRUST = pb.TrustRule(issuer="https://ci.example.com", audience="a", subject="b", role=pb.ROLE_CI)
METHODS = {
    f"{service.name}.{method.name}": method
    for service in (SATELLITES, ACCESS, USAGE, WEBHOOKS, OPERATORS)
    for method in service.methods
}


@dataclass
class Deployment:
    """A control server over a real database of access, and an fake fleet of acme's."""

    store: Store
    members: Members
    audit: Audit
    issuer: Issuer
    channel: grpc.aio.Channel

    async def call(self, method_name: str, token: str, org: str = "", /, **fields: Any) -> Any:
        """The reply, the first of a stream's; or the code that the call ends with."""
        method = METHODS[method_name]
        request = GetMessageClass(method.input_type)(**fields)
        path = f"/{method.containing_service.full_name}/{method.name}"
        metadata = [
            ("authorization", f"Bearer {token}"),
            *([("satellite_org", org)] if org else []),
        ]
        decode = GetMessageClass(method.output_type).FromString
        try:
            if method.server_streaming:
                stream = untyped(self.channel).unary_stream(path, None, decode)
                call = stream(request.SerializeToString(), metadata=metadata, timeout=LONG)
                async for reply in call:
                    call.cancel()
                    return reply
                return None
            ask = untyped(self.channel).unary_unary(path, None, decode)
            return await ask(request.SerializeToString(), metadata=metadata, timeout=LONG)
        except grpc.aio.AioRpcError as error:
            return dict(error.trailing_metadata() or ()).get("x-torpor-code", str(error))


@pytest.fixture
async def deployment(database, tmp_path) -> AsyncIterator[Deployment]:
    store, members = Store(database), Members(database)
    await store.create_org("acme")
    await store.create_org("globex")
    await database.execute("update orgs set id = $1 where name = 'acme'", ACME)
    fleet = FakeFleet(asleep("one"), asleep("two"), by_itself=True)
    async with (
        Issuer().running() as issuer,
        Audit(database) as audit,
        Directory(database, audit=audit) as directory,
    ):
        rules = TrustRules(database)
        exchange = Exchange(rules, lambda: Issuers(lambda: 0.0, issuer.context), audit)
        issuing = Issuing(database, Places(tmp_path / "ca.pem", str(tmp_path / "ca.key")))
        keep_authority(ClientAuthority.make("ours"), *issuing.places)
        access = AccessCalls(store, members, audit, rules, exchange, issuing=issuing)
        usage = UsageCalls(Usage(database), NO_PRICES)
        server = ControlServer(
            fleet,
            directory,
            access=access,
            usage=usage,
            webhooks=WebhookCalls(Webhooks(database, Seal([Fernet.generate_key()]))),
            operators=OperatorCalls(database),
            audit=audit,
        )
        bound = await server.start(Address("127.0.0.1", 0))
        assert isinstance(bound, Address)
        where = f"{bound.host}:{bound.port}"
        async with grpc.aio.insecure_channel(where) as channel:
            yield Deployment(store, members, audit, issuer, channel)
        await server.aclose()
        await fleet.aclose()


def fields_for(name: str) -> dict[str, Any]:
    """A request that is in order but for who makes it."""
    if name in (
        "Satellites.List",
        "Access.WhoAmI",
        "Access.Exchange",
        "Usage.Report",
    ) or name.startswith(("Access.List", "Webhooks.ListWeb")):
        return {}
    if name == "Webhooks.AddWebhook":
        return {"name": "one", "url": "https://hooks.example/"}
    if name.startswith("Operators."):
        return _operators_fields(name)
    given: dict[str, Any] = {
        "name": "new" if name.endswith(("Launch", "Token", "Member")) else "one"
    }
    if name in ("Access.CreateToken", "Access.NarrowToken", "Access.AddMember"):
        given["role"] = pb.ROLE_CI
    if name == "Access.ChangeMember":
        given["role"] = pb.ROLE_VIEWER
    if name == "Access.IssueCertificate":
        given["request"] = new_request("x")[1]
    if name == "Access.AddTrustRule":
        given["rule"] = TRUST
    if name == "Satellites.Update":
        given["size"] = "large"
    return given


def _operators_fields(name: str) -> dict[str, Any]:
    message = METHODS[name].input_type.fields_by_name
    given: dict[str, Any] = {"org": "globex"} if "org" in message else {}
    if name == "Operators.PauseSleep":
        given |= {"lifetime": Duration(seconds=60), "reason": "work"}
    return given


def test_every_method_says_what_it_needs() -> None:
    assert set(NEEDS) == set(METHODS)


@pytest.mark.parametrize("role", Role)
async def test_each_call_by_each_role(deployment, role) -> None:
    own = "" if role is Role.OPERATOR else "acme"
    _, token = await deployment.store.create_token(own, "t", role=role)
    told = {
        name: await deployment.call(name, token, "acme", **fields_for(name)) for name in METHODS
    }
    for name, need in NEEDS.items():
        allowed = need.right is None or need.right in RIGHTS[role]
        assert (told[name] == "TPR-1130") is not allowed, (name, told[name])


@pytest.mark.parametrize("role", [role for role in Role if role is not Role.OPERATOR])
async def test_each_call_with_another_orgs_token(deployment, role) -> None:
    _, token = await deployment.store.create_token("globex", "t", role=role)
    for name in sorted(set(METHODS) - WITHOUT_CREDENTIALS):
        assert await deployment.call(name, token, "acme", **fields_for(name)) == "TPR-1103"
    seen = await deployment.call("Satellites.Get", token, name="one")
    assert isinstance(seen, str), "acme's satellite"


async def test_each_call_with_a_token_that_has_ended(deployment, database) -> None:
    _, revoked = await deployment.store.create_token("acme", "revoked")
    await deployment.store.revoke_token("acme", "revoked")
    _, expired = await deployment.store.create_token("acme", "expired")
    await database.execute("update tokens set expires_at = now() where name = 'expired'")
    for name in sorted(set(METHODS) - WITHOUT_CREDENTIALS):
        for token in (revoked, expired):
            assert await deployment.call(name, token, **fields_for(name)) == "TPR-1102"
        assert await deployment.call(name, "tpr_wrong", **fields_for(name)) == "TPR-1101"


async def test_a_token_for_one_satellite_sees_that_one_alone(deployment) -> None:
    _, token = await deployment.store.create_token("acme", "t", satellites=["one"])
    listed = await deployment.call("Satellites.List", token)
    assert [each.name for each in listed.satellites] == ["one"]
    for name in METHODS:
        if name.startswith("Satellites.") and name != "Satellites.List":
            fields = {**fields_for(name), "name": "two"}
            assert await deployment.call(name, token, **fields) == "TPR-1131", name


async def test_a_token_for_one_satellite_has_no_webhooks(deployment) -> None:
    _, token = await deployment.store.create_token("acme", "t", satellites=["one"])
    for name in METHODS:
        if name.startswith("Webhooks."):
            assert await deployment.call(name, token, **fields_for(name)) == "TPR-1131", name


async def test_an_operator_names_the_org(deployment) -> None:
    _, token = await deployment.store.create_token("", "ops", role=Role.OPERATOR)
    assert await deployment.call("Satellites.List", token) == "TPR-1135"
    assert await deployment.call("Satellites.List", token, "nobody") == "TPR-1112"
    assert len((await deployment.call("Satellites.List", token, "acme")).satellites) == 2
    assert (await deployment.call("Access.WhoAmI", token)).caller == "operator:ops"


@pytest.mark.parametrize("role", [role for role in Role if role is not Role.OPERATOR])
async def test_an_orgs_token_operates_nothing(deployment, database, role) -> None:
    _, token = await deployment.store.create_token("acme", "t", role=role)
    await database.execute("update tokens set role = null where $1 = 'admin'", role)  # an old one
    operators = [name for name in METHODS if name.startswith("Operators.")]
    assert operators
    for name in operators:
        assert await deployment.call(name, token, **fields_for(name)) == "TPR-1130", name
    acts = await _written(deployment, len(operators))
    assert {act.result for act in acts} == {"TPR-1130"}
    assert not await deployment.audit.read("globex"), "another org's log is not theirs to fill"
    assert [org.name for org in await deployment.store.orgs()] == ["acme", "globex"]
    assert "operate" not in (await deployment.call("Access.WhoAmI", token)).rights


async def test_what_operators_do_is_in_the_log_of_the_org_that_it_is_about(deployment) -> None:
    _, token = await deployment.store.create_token("", "ops", role=Role.OPERATOR)

    async def ask(name: str, **fields: Any) -> Any:
        return await deployment.call(f"Operators.{name}", token, **fields)

    assert (await ask("CreateOrg", org="new")).org.name == "new"
    hour = Duration(seconds=3_600)
    assert (await ask("PauseSleep", org="new", lifetime=hour, reason="x")).pause.org == "new"
    await ask("PauseSleep", lifetime=hour, reason="all")
    assert (await ask("RemoveOrg", org="new")).left == 0
    acts = await _written(deployment, 3, "new")
    assert [(act.actor, act.action, act.result) for act in acts] == [
        ("operator:ops", "Operators.CreateOrg", "ok"),
        ("operator:ops", "Operators.PauseSleep", "ok"),
        ("operator:ops", "Operators.RemoveOrg", "ok"),
    ]
    made, paused, removed = acts
    assert (made.before, made.after["name"]) == (None, "new")
    assert (paused.before, paused.after["reason"]) == (None, "x")
    assert removed.before["satellites"] == []
    [of_all] = await deployment.audit.read("")
    assert of_all.action == "Operators.PauseSleep"
    seen = await deployment.call("Access.ListAudit", token)
    assert [act.id for act in seen.acts] == sorted(act.id for act in (*acts, of_all))
    gone = await deployment.call("Access.ListAudit", token, org="new")
    assert [act.id for act in gone.acts] == [act.id for act in acts]
    assert len((await deployment.call("Access.ListTokens", token)).tokens) == 0


async def test_the_fleet_comes_in_pages(deployment, database) -> None:
    _, token = await deployment.store.create_token("", "ops", role=Role.OPERATOR)
    await database.execute(
        """
        insert into satellites (org_id, name, provisioner, arch, state)
        select id, n::text, 'local', 'x86_64', 'asleep' from orgs, generate_series(1, 3) as n
        """
    )
    seen, more = [], ""
    while True:
        page = await deployment.call(
            "Operators.ListFleet", token, page_size=2, page_token=more, state=4
        )
        seen.append([each.name for each in page.satellites])
        if not (more := page.next_page_token):
            break
    assert seen == [["acme/1", "acme/2"], ["acme/3", "globex/1"], ["globex/2", "globex/3"]]
    for bad, code in (({"page_size": 1_001}, "TPR-1145"), ({"state": 99}, "TPR-1302")):
        assert await deployment.call("Operators.ListFleet", token, **bad) == code


async def test_a_caller_gives_no_more_rights_than_it_has(deployment) -> None:
    _, narrow = await deployment.store.create_token("acme", "narrow", satellites=["one"])
    make = {"name": "t", "role": pb.ROLE_CI}
    assert await deployment.call("Access.CreateToken", narrow, **make) == "TPR-1136"
    assert (
        await deployment.call("Access.CreateToken", narrow, satellites=["two"], **make)
        == "TPR-1136"
    )
    made = await deployment.call("Access.CreateToken", narrow, satellites=["one"], **make)
    assert made.text.startswith("tpr_")
    await deployment.store.create_token("acme", "wide")
    for name in ("Access.NarrowToken", "Access.RevokeToken"):
        fields = {
            "name": "wide",
            **({"role": pb.ROLE_CI, "satellites": ["one"]} if "Narrow" in name else {}),
        }
        assert await deployment.call(name, narrow, **fields) == "TPR-1136"
    for name, role in (
        ("AddMember", pb.ROLE_CI),
        ("ChangeMember", pb.ROLE_CI),
        ("RemoveMember", None),
    ):
        fields = {"name": "ann", **({"role": role} if role else {})}
        assert await deployment.call(f"Access.{name}", narrow, **fields) == "TPR-1136"
    _, whole = await deployment.store.create_token("acme", "whole")
    for role in (pb.ROLE_OPERATOR, pb.ROLE_UNSPECIFIED, 99):  # type: ignore[assignment]
        told = await deployment.call("Access.CreateToken", whole, name="up", role=role)
        assert told == "TPR-1132"


async def test_the_trail_of_a_day(deployment) -> None:
    _, admin = await deployment.store.create_token("acme", "boss")
    _, ci = await deployment.store.create_token("acme", "ci", role=Role.CI)
    await deployment.call("Satellites.Update", admin, name="one", size="large")
    await deployment.call("Satellites.List", admin)
    await deployment.call("Satellites.Terminate", ci, name="one")
    await deployment.call("Satellites.Get", admin, name="none")
    await deployment.call("Satellites.Wake", ci, name="two")
    made = await deployment.call("Access.AddMember", admin, name="ann", role=pb.ROLE_MEMBER)
    assert made.member.role == pb.ROLE_MEMBER
    await deployment.call("Access.ChangeMember", admin, name="ann", role=pb.ROLE_CI)
    text = (await deployment.call("Access.CreateToken", admin, name="t", role=pb.ROLE_CI)).text
    await deployment.call("Access.RevokeToken", admin, name="t")
    acts = sorted(await _written(deployment, 7), key=lambda act: act.id)
    told = [(a.actor, a.action, a.target, a.result) for a in acts if a.result == "ok"]
    assert told == [
        ("token:boss", "Satellites.Update", "one", "ok"),
        ("token:ci", "Satellites.Wake", "two", "ok"),
        ("token:boss", "Access.AddMember", "ann", "ok"),
        ("token:boss", "Access.ChangeMember", "ann", "ok"),
        ("token:boss", "Access.CreateToken", "t", "ok"),
        ("token:boss", "Access.RevokeToken", "t", "ok"),
    ]
    [refused] = [a for a in acts if a.result != "ok"]
    assert (refused.actor, refused.action, refused.target, refused.result) == (
        *("token:ci", "Satellites.Terminate", "one"),
        "TPR-1130",
    )
    update, _, add, change, create, revoke = (a for a in acts if a.result == "ok")
    assert (update.before["size"], update.after["size"]) == ("", "large")
    assert (add.before, add.after["role"]) == (None, "member")
    assert (change.before["role"], change.after["role"]) == ("member", "ci")
    assert (create.before, create.after["role"]) == (None, "ci")
    assert (revoke.before["state"], revoke.after) == ("valid", None)
    assert text not in repr(acts)
    seen = await deployment.call("Access.ListAudit", admin)
    assert [act.id for act in seen.acts] == [act.id for act in acts]


async def _written(deployment: Deployment, count: int, org: str = "acme") -> list[Any]:
    async with asyncio.timeout(LONG):
        while len(acts := await deployment.audit.read(org)) < count:
            await asyncio.sleep(0.05)
    return acts


async def test_a_certificate_does_no_more_than_the_token_that_it_was_got_with(
    deployment, database
) -> None:
    lives = Duration(seconds=3_600)
    token, text = await deployment.store.create_token(
        "acme", "job", timedelta(hours=2), role=Role.CI, satellites=["one"]
    )
    ask = partial(deployment.call, "Access.IssueCertificate", text)
    request = new_request("root")[1]
    given = await ask(request=request, lifetime=lives)
    assert given.subject == "token:job"
    assert given.expires_at.ToDatetime(UTC) <= datetime.now(UTC) + timedelta(seconds=3_600)
    longest = await ask(request=request, name="one", lifetime=Duration(seconds=80_000))
    assert longest.expires_at.ToDatetime(UTC) == token.expires_at.replace(microsecond=0)
    assert await ask(request=request, name="two") == "TPR-1131"
    assert await ask(request=request, name="One") == "TPR-1301"
    assert await ask(request=b"") == "TPR-1150"
    assert await ask(request=request, lifetime=Duration(seconds=1)) == "TPR-1151"
    kept = await IssuedCertificates(database).all("acme")
    assert {(each.token, each.satellite) for each in kept} == {("job", None), ("job", "one")}

    def shown(serial: str) -> Ask:
        [of] = [each for each in kept if each.serial == serial]
        certificate = Certificate("acme", None, serial, of.fingerprint, recorded=True)
        return Ask("acme", "two", certificate=certificate)

    async with Directory(database) as directory:
        with pytest.raises(TokenForOthers):
            await directory.route(shown(given.serial))
        await database.execute("delete from issued_certificates")
        with pytest.raises(NotOnRecord):
            await directory.route(shown(longest.serial))


async def test_a_router_without_a_ca_issues_nothing(database) -> None:
    with pytest.raises(NoAuthority):
        await Issuing(database, None).for_token(FakeCaller(ACME, "acme", "x"), b"", None, None)


async def test_a_job_exchanges_its_identity_for_a_token(deployment) -> None:
    _, admin = await deployment.store.create_token("acme", "boss")
    issuer = deployment.issuer
    rule = pb.TrustRule(
        issuer=issuer.url,
        audience="torpor",
        subject="repo:acme/app:*",
        claims={"ref_protected": "true"},
        role=pb.ROLE_VIEWER,
    )
    added = await deployment.call("Access.AddTrustRule", admin, name="app", rule=rule)
    assert (added.rule.name, added.rule.lifetime.seconds) == ("app", 3_600)
    assert [
        each.name for each in (await deployment.call("Access.ListTrustRules", admin)).rules
    ] == ["app"]
    given = await deployment.call("Access.Exchange", "", subject_token=issuer.token())
    assert (given.org, given.role, given.expires_in) == ("acme", pb.ROLE_VIEWER, 3_600)
    assert (given.token_type, given.issued_token_type) == (
        "Bearer",
        "urn:ietf:params:oauth:token-type:access_token",
    )
    seen = await deployment.call("Access.WhoAmI", given.access_token)
    assert (seen.caller, seen.rights) == ("oidc:repo:acme/app:ref:refs/heads/main", ["look"])
    by_name = {"grant_type": "urn:ietf:params:oauth:grant-type:token-exchange"}
    told = await deployment.call(
        *("Access.Exchange", ""), subject_token=issuer.token(), audience="acme", **by_name
    )
    assert told.org == "acme"
    for fields, code in (
        ({"subject_token": issuer.token(), "grant_type": "password"}, "TPR-1144"),
        ({"subject_token": issuer.token(), "subject_token_type": "saml"}, "TPR-1144"),
        ({"subject_token": issuer.token(ref_protected=False)}, "TPR-1138"),
        ({"subject_token": issuer.token(), "audience": "globex"}, "TPR-1138"),
        ({"subject_token": issuer.unsigned()}, "TPR-1137"),
        ({}, "TPR-1137"),
    ):
        assert await deployment.call("Access.Exchange", "", **fields) == code
    assert (await deployment.call("Access.RemoveTrustRule", admin, name="app")).rule.name == "app"
    assert await deployment.call("Access.RemoveTrustRule", admin, name="app") == "TPR-1143"
    bad = pb.TrustRule(issuer="http://x", audience="a", subject="b", role=pb.ROLE_CI)
    assert await deployment.call("Access.AddTrustRule", admin, name="x", rule=bad) == "TPR-1141"
