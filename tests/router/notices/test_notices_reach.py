"""Which addresses a webhook may reach, and be written with."""

from __future__ import annotations

from ipaddress import IPv4Address, ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from torpor_router.notices.errors import BadWebhook
from torpor_router.notices.reach import Reach, checked_url, networks

INSIDE = [
    *("127.0.0.1", "127.9.9.9", "0.0.0.0", "10.0.0.1", "172.16.0.1", "192.168.1.1"),
    *("169.254.169.254", "100.64.0.1", "224.0.0.1", "239.1.1.1", "240.0.0.1", "255.255.255.255"),
    *("::1", "::", "fe80::1", "fe80::1%eth0", "fc00::1", "fd00:ec2::254", "fec0::1", "ff02::1"),
    *("::ffff:127.0.0.1", "::ffff:169.254.169.254", "64:ff9b::a9fe:a9fe", "2002:7f00:1::"),
    *("::127.0.0.1", "2001:db8::1", "64:ff9b:1::1", "2001:0:7f00:1::"),
]
OUTSIDE = ["1.1.1.1", "52.95.110.1", "2606:4700::1111", "::ffff:1.1.1.1", "64:ff9b::101:101"]
NOWHERE, TEN = Reach(), Reach(networks(("10.1.0.0/16",)))
addresses = st.ip_addresses().map(str)


@pytest.mark.parametrize("address", INSIDE)
def test_an_org_reaches_nothing_that_is_not_public(address: str) -> None:
    assert not NOWHERE.allows(address, plain=False, operators=False)
    assert not NOWHERE.allows(address, plain=True, operators=False)


@pytest.mark.parametrize("address", OUTSIDE)
def test_an_org_reaches_public_addresses_over_tls(address: str) -> None:
    assert NOWHERE.allows(address, plain=False, operators=False)
    assert not NOWHERE.allows(address, plain=True, operators=False)
    assert not NOWHERE.allows(address, plain=True, operators=True)


def test_what_the_operator_opens_is_open() -> None:
    assert TEN.allows("10.1.2.3", plain=True, operators=False)
    assert TEN.allows("::ffff:10.1.2.3", plain=False, operators=False)
    assert not TEN.allows("10.2.2.3", plain=False, operators=False)


def test_operators_reach_their_own_machine_without_tls_and_all_with_it() -> None:
    assert NOWHERE.allows("127.0.0.1", plain=True, operators=True)
    assert NOWHERE.allows("10.0.0.1", plain=False, operators=True)
    assert not NOWHERE.allows("10.0.0.1", plain=True, operators=True)


@given(addresses, st.booleans())
def test_operators_may_at_least_what_orgs_may(address: str, plain: bool) -> None:
    if NOWHERE.allows(address, plain=plain, operators=False):
        assert NOWHERE.allows(address, plain=plain, operators=True)
        assert not plain


@given(st.ip_addresses(v=4).map(str))
def test_an_address_within_another_is_judged_as_itself(address: str) -> None:
    number = int(IPv4Address(address))
    nat64 = str(ip_address(int(ip_address("64:ff9b::")) + number))
    judged = NOWHERE.allows(address, plain=False, operators=False)
    for form in (f"::ffff:{address}", nat64):
        assert NOWHERE.allows(form, plain=False, operators=False) is judged


@given(st.ip_addresses(v=6).map(str))
def test_nothing_beside_what_is_given_out_is_public(address: str) -> None:
    found = ip_address(address)
    if NOWHERE.allows(address, plain=False, operators=False):
        assert (
            found in ip_network("2000::/3")
            or found in ip_network("64:ff9b::/96")
            or (found in ip_network("::ffff:0:0/96"))
        )


@pytest.mark.parametrize(
    "url",
    [
        *("", "hooks.example", "ftp://hooks.example/", "https://", "https:///path", "file:///etc"),
        *("https://user@hooks.example/", "https://a:b@hooks.example/", "https://h.example/#part"),
        *("https://h.example:0/", "https://h.example:99999/", "https://h.example:x/"),
        *("https://h\u00f6ks.example/", "https://h.example/a b", "https://h.example/\n"),
        *("https://[::1/", "https://h.example/" + "x" * 2_000),
    ],
)
def test_what_is_no_address_of_a_webhook(url: str) -> None:
    with pytest.raises(BadWebhook, match="TPR-5522"):
        checked_url(url)


def test_what_is_one() -> None:
    assert checked_url("https://hooks.example:8443/a?b=c").netloc == "hooks.example:8443"
    assert checked_url("http://[::1]:80/").hostname == "::1"
