"""Which satellite, and who asks: read from header fields and the peer."""

from __future__ import annotations

import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from torpor_router.errors import (
    BadSatelliteName,
    MalformedRequest,
    NoCredentials,
    NoSatelliteNamed,
)
from torpor_router.h2.fields import Field
from torpor_router.naming import from_host
from torpor_router.peer_info import PeerInfo
from torpor_router.routing import AsConnection, Ask, Certificate, Peer, ToNode, identity
from torpor_router.targets import read_request
from torpor_router.tokens import digest

PLAIN = Peer("203.0.113.9:1")
CERTIFIED = Peer("203.0.113.9:1", Certificate("acme"))
PINNED = Peer("203.0.113.9:1", Certificate("acme", "pinned"))
NAMED = Peer("203.0.113.9:1", server_name="sni--acme.door.test")
BEARER = {"authorization": "Bearer t"}


def read(peer=PLAIN, path="/a.B/C", authority="localhost", domain="", **metadata):
    pairs = {":path": path, ":authority": authority, **metadata}
    fields = [Field(k.encode(), v.encode("latin-1"), b"") for k, v in pairs.items()]
    return read_request(fields, peer, domain)


@pytest.mark.parametrize(
    ("peer", "given_", "names"),
    [
        (PLAIN, {"satellite": "acme/one"}, "acme/one"),
        (PLAIN, {"satellite_org": "acme", "satellite_name": "one"}, "acme/one"),
        (CERTIFIED, {"satellite": "one", **BEARER}, "acme/one"),
        (CERTIFIED, {"satellite_name": "one"}, "acme/one"),
        (CERTIFIED, {"satellite": "other/one"}, "other/one"),
        (PINNED, {}, "acme/pinned"),
        (PINNED, {"satellite": "acme/one"}, "acme/one"),
        (NAMED, {}, "acme/sni"),
        (NAMED, {"authority": "auth--acme.door.test"}, "acme/sni"),
        (PLAIN, {"authority": "auth--acme.door.test:443"}, "acme/auth"),
        (PLAIN, {"authority": "AUTH--ACME.Door.Test"}, "acme/auth"),
        (PLAIN, {"authority": "auth--acme.door.test", "domain": "Door.Test"}, "acme/auth"),
    ],
)
def test_the_order_in_which_a_satellite_is_named(peer, given_, names):
    ask = read(peer, **{**BEARER, **given_}).ask
    assert f"{ask.org}/{ask.satellite}" == names


CERTIFIED_AND_NAMED = Peer(
    "203.0.113.9:1", Certificate("acme", "pinned"), server_name="sni--acme.door.test"
)


@pytest.mark.parametrize(
    ("peer", "given_", "names"),
    [
        (NAMED, {"satellite": "acme/one"}, "acme/one.*acme/sni"),
        (NAMED, {"satellite": "other/sni"}, "other/sni.*acme/sni"),
        (NAMED, {"satellite_org": "acme", "satellite_name": "one"}, "acme/one.*acme/sni"),
        (NAMED, {"satellite": "acme/one", "domain": "door.test"}, "acme/one.*acme/sni"),
        (CERTIFIED_AND_NAMED, {}, "acme/pinned.*acme/sni"),
        (CERTIFIED_AND_NAMED, {"satellite": "acme/pinned"}, "acme/pinned.*acme/sni"),
        (PINNED, {"authority": "two--acme.door.test", "domain": "door.test"}, "pinned.*acme/two"),
        (NAMED, {"authority": "two--acme.door.test", "domain": "door.test"}, "sni.*acme/two"),
        (
            PLAIN,
            {"satellite": "acme/one", "satellite_org": "acme", "satellite_name": "two"},
            "acme/one.*acme/two",
        ),
    ],
)
def test_names_that_contradict_each_other(peer, given_, names):
    with pytest.raises(BadSatelliteName, match=names):
        read(peer, **{**BEARER, **given_})


@pytest.mark.parametrize(
    ("peer", "given_"),
    [
        (NAMED, {"satellite": "acme/sni", "authority": "sni--acme.door.test"}),
        (NAMED, {"satellite": "acme/one", "domain": "elsewhere.test"}),
        (NAMED, {"satellite": "acme/sni", "satellite_org": "acme", "satellite_name": "sni"}),
        (PLAIN, {"satellite": "acme/one", "satellite_org": "acme"}),
        (PLAIN, {"satellite": "acme/one", "authority": "two--acme.elsewhere.test"}),
        (
            PLAIN,
            {"satellite": "acme/one", "authority": "two--acme.here.test", "domain": "door.test"},
        ),
        (PINNED, {"satellite": "acme/one"}),  # refused by its rights: TPR-1108
    ],
)
def test_names_that_agree_or_are_none(peer, given_):
    assert read(peer, **{**BEARER, **given_}).ask.org == "acme"


@pytest.mark.parametrize(
    ("path", "named", "says"),
    [
        ("/moby.buildkit.v1.Control/Solve", True, "--tlscert"),
        ("/moby.buildkit.v1.Control/Solve", False, "--tlsservername"),
        ("/moby.buildkit.v1.frontend.LLBBridge/Ping", True, "--tlscert"),
        ("/build.bazel.remote.execution.v2.Execution/Execute", True, "--remote_header"),
        ("/a.B/C", True, "Bearer TOKEN"),
        ("/a.B/C", False, "satellite: ORG/NAME"),
    ],
)
def test_the_remedy_fits_the_client_that_asks(path, named, says):
    kind = NoCredentials if named else NoSatelliteNamed
    with pytest.raises(kind) as refused:
        read(path=path, **({"satellite": "acme/one"} if named else {}))
    assert says in str(refused.value)
    assert refused.value.code == kind.code


@pytest.mark.parametrize(
    ("peer", "given_", "token", "gone"),
    [
        (PLAIN, {"authorization": "Bearer t"}, "t", {b"authorization"}),
        (PLAIN, {"authorization": "bearer  t "}, "t", {b"authorization"}),
        (PLAIN, {"satellite_token": "t1", "authorization": "Bearer w"}, "t1", set()),
        (CERTIFIED, {"authorization": "Bearer w"}, None, set()),
        (CERTIFIED, {"authorization": "Basic w"}, None, set()),
        (PLAIN, {"satellite_token": "t1", "authorization": "Beaver t1"}, "t1", {b"authorization"}),
        (CERTIFIED, {"authorization": "Bearer tpr_t"}, "tpr_t", {b"authorization"}),
        (CERTIFIED, {"authorization": "bearer  tpr_t "}, "tpr_t", {b"authorization"}),
        (CERTIFIED, {"satellite_token": "t1", "authorization": "Bearer tpr_w"}, "t1", set()),
        (PLAIN, {"satellite_token": "t", "authorization": "Bearer t"}, "t", {b"authorization"}),
        (CERTIFIED, {"satellite_token": "t"}, "t", set()),
    ],
)
def test_the_credential_and_what_is_consumed(peer, given_, token, gone):
    read_ = read(peer, satellite="acme/one", **given_)
    token_hash = digest(token) if token else None
    assert read_.ask == Ask("acme", "one", token_hash, peer.certificate)
    always = {b"satellite", b"satellite_org", b"satellite_name", b"satellite_token"}
    assert read_.consumed == always | gone


@pytest.mark.parametrize("values", [(b"Bearer tpr_t", b"Bearer w"), (b"Bearer w", b"bearer tpr_t")])
def test_two_authorizations_with_a_token_of_the_doors_reach_no_worker(values):
    twice = [Field(b"authorization", value, b"") for value in values]
    named = [Field(b"satellite", b"acme/one", b"")]
    for peer in (PLAIN, CERTIFIED):
        with pytest.raises(NoCredentials, match="twice"):
            read_request([*named, *twice], peer)


def test_a_token_of_the_doors_in_another_scheme_reaches_no_worker():
    with pytest.raises(NoCredentials):
        read(CERTIFIED, satellite="acme/one", authorization="Beaver tpr_t")


def test_the_token_reaches_no_worker_in_one_of_two_authorizations():
    both = [Field(b"authorization", value, b"") for value in (b"Bearer w", b"Bearer tok")]
    named = [Field(b"satellite", b"acme/one", b""), Field(b"satellite_token", b"tok", b"")]
    for fields in ([*named, *both], [*both, *named]):
        assert b"authorization" in read_request(fields, PLAIN).consumed


def test_two_authorizations_are_no_credential_but_may_be_the_workers():
    twice = [Field(b"authorization", value, b"") for value in (b"Bearer t", b"Bearer u")]
    named = [Field(b":path", b"/a.B/C", b""), Field(b"satellite", b"acme/one", b"")]
    with pytest.raises(NoCredentials, match="twice"):
        read_request([*named, *twice], PLAIN)
    assert read_request([*named, *twice], CERTIFIED).consumed.isdisjoint({b"authorization"})
    token = Field(b"satellite_token", b"other", b"")
    assert read_request([*named, *twice, token], PLAIN).consumed.isdisjoint({b"authorization"})


def test_the_token_itself_is_kept_nowhere():
    for shown in ({"authorization": "Bearer hush"}, {"satellite_token": "hush"}):
        ask = read(satellite="acme/one", **shown).ask
        assert ask.token_hash == digest("hush")
        assert b"hush" not in pickle.dumps(ask)


def test_a_token_is_not_shown():
    assert "hush" not in repr(read(satellite="acme/one", authorization="Bearer hush"))


@pytest.mark.parametrize(
    ("given_", "error"),
    [
        ({}, NoSatelliteNamed),
        ({"authority": "one.door.test"}, NoSatelliteNamed),
        ({"authority": "one--acme"}, NoSatelliteNamed),
        ({"authority": "a--b--acme.door.test"}, NoSatelliteNamed),
        ({"authority": "one--acme.elsewhere.test", "domain": "door.test"}, NoSatelliteNamed),
        ({"satellite": ""}, BadSatelliteName),
        ({"satellite": "one"}, BadSatelliteName),
        ({"satellite": "acme/one/more"}, BadSatelliteName),
        ({"satellite": "acme/-one"}, BadSatelliteName),
        ({"satellite": f"acme/{'x' * 41}"}, BadSatelliteName),
        ({"satellite_name": "one"}, BadSatelliteName),
        ({"satellite_org": "acme"}, BadSatelliteName),
        ({"satellite_org": "acme", "authority": "one--acme.door.test"}, BadSatelliteName),
        ({"satellite": "acm\xe9/one"}, MalformedRequest),
        ({"satellite": "acme/one", "authorization": ""}, NoCredentials),
        ({"satellite": "acme/one", "authorization": "Bearer "}, NoCredentials),
        ({"satellite": "acme/one", "authorization": "Basic x"}, NoCredentials),
        ({"satellite": "acme/one", "satellite_token": ""}, NoCredentials),
        ({"satellite": "acme/one", "satellite_token": "x" * 5_000}, NoCredentials),
    ],
)
def test_what_cannot_be_read(given_, error):
    with pytest.raises(error):
        read(**{**BEARER, **given_})


def test_a_name_that_stands_twice_is_nobodys():
    twice = [Field(b"satellite", value, b"") for value in (b"acme/one", b"acme/two")]
    with pytest.raises(BadSatelliteName):
        read_request(twice, PLAIN)


def test_a_token_that_stands_twice_is_no_credential():
    fields = [Field(b"satellite", b"acme/one", b"")]
    fields += [Field(b"satellite_token", value, b"") for value in (b"one", b"two")]
    with pytest.raises(NoCredentials, match="twice"):
        read_request(fields, PLAIN)


def test_the_control_api_is_the_nodes_whatever_the_metadata_says():
    path = "/torpor.v1.Satellites/List"
    for peer in (PLAIN, NAMED, PINNED):
        for metadata in ({}, {"satellite": "acme/one", **BEARER}):
            target = read(peer, path=path, **metadata)
            assert isinstance(target, ToNode)
            assert not target.for_anyone
    target = read(CERTIFIED, path=path)
    assert target.consumed == {
        b"x-torpor-peer",
        b"x-torpor-certificate-org",
        b"x-torpor-satellite-id",
    }
    assert target.added == PeerInfo("203.0.113.9:1", "acme").encoded()
    with pytest.raises(NoSatelliteNamed):
        read(path="/torpor.v1beta.S/L")


@pytest.mark.parametrize(
    "path",
    ["/grpc.health.v1.Health/Watch", "/xds.service.orca.v3.OpenRcaService/StreamCoreMetrics"],
)
def test_calls_that_libraries_make_are_the_nodes_unless_they_say_where_they_go(path):
    for peer in (PLAIN, NAMED, CERTIFIED, PINNED):
        assert read(peer, path=path).for_anyone
    assert read(path=path, authority="auth--acme.door.test").for_anyone
    assert read(path=path, **BEARER).for_anyone
    assert read(path=path, satellite="acme/one", **BEARER).ask == Ask("acme", "one", digest("t"))
    assert read(NAMED, path=path, **BEARER).ask == Ask("acme", "sni", digest("t"))


def test_reflection_is_the_nodes_for_those_who_show_nothing():
    path = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo"
    assert read(path=path).for_anyone
    assert read(NAMED, path=path).for_anyone
    assert read(PINNED, path=path).ask.satellite == "pinned"
    assert read(NAMED, path=path, **BEARER).ask.satellite == "sni"


def test_what_bazel_asks_before_it_says_for_whom():
    path = "/build.bazel.remote.execution.v2.Capabilities/GetCapabilities"
    unknown = read(path=path)
    assert isinstance(unknown, AsConnection)
    assert (unknown.names, unknown.token_hash, unknown.or_node) == (None, None, True)
    shown = read(path=path, **BEARER)
    assert (shown.names, shown.token_hash) == (None, digest("t"))
    assert b"authorization" in shown.consumed
    assert read(path=path, authority="one--acme.door.test").names == ("acme", "one")
    assert read(path=path, satellite="acme/one", **BEARER).ask == Ask("acme", "one", digest("t"))
    assert read(CERTIFIED, path=path, satellite="one").ask is not None


def test_what_bazel_asks_without_saying_for_whom():
    path = "/google.bytestream.ByteStream/Write"
    unknown = read(path=path)
    assert isinstance(unknown, AsConnection)
    assert (unknown.names, unknown.token_hash, unknown.or_node) == (None, None, False)
    for shown in (BEARER, {"satellite_token": "t"}):
        with pytest.raises(NoSatelliteNamed):
            read(path=path, **shown)
    with pytest.raises(NoSatelliteNamed):
        read(CERTIFIED, path=path)


@pytest.mark.parametrize(
    ("uri", "names"),
    [
        ("torpor://org/acme", ("acme", None)),
        ("torpor://org/acme/satellite/one", ("acme", "one")),
        ("torpor://org/Acme", None),
        ("torpor://org/acme/", None),
        ("torpor://org/acme/one", None),
        ("torpor://org/", None),
        ("spiffe://org/acme", None),
    ],
)
def test_identities_in_certificates(uri, names):
    assert identity(uri) == names


@given(st.text(max_size=80))
def test_any_host_is_read_or_not(host):
    names = from_host(host)
    assert names is None or host.lower().startswith(f"{names[1]}--{names[0]}.")


@pytest.mark.parametrize("path", ["/grpc.health.v1.Health/Check", "/torpor.v1.Satellites/List"])
def test_the_nodes_services_get_no_value_that_is_not_ascii(path):
    """A stranger would have their gRPC server log a traceback for each."""
    for told in ({"x": "\xed\xa0"}, {"authority": "\xe9"}):
        with pytest.raises(MalformedRequest, match="not ASCII"):
            read(path=path, **told)
    with pytest.raises(MalformedRequest, match="not ASCII"):
        read(path=path + "\xed")
    assert isinstance(read(path=path, **{"x-bin": "\xed\xa0"}), ToNode)
