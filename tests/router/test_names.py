"""Names and addresses as people write them."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from torpor_provisioner.contract import Address
from torpor_router.names import is_name, read_address, stays_here, written_address


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("127.0.0.1:80", Address("127.0.0.1", 80)),
        ("router.example", Address("router.example", 8372)),
        (":9000", Address("0.0.0.0", 9000)),
        ("[::1]:80", Address("::1", 80)),
        ("[::]", Address("::", 8372)),
        ("::1", Address("::1", 8372)),
        ("2001:db8::8372", Address("2001:db8::8372", 8372)),
        ("fe80::1%eth0", Address("fe80::1%eth0", 8372)),
        ("localhost:0", Address("localhost", 0)),
    ],
)
def test_an_address_is_read(text: str, expected: Address) -> None:
    assert read_address(text, 8372) == expected


@pytest.mark.parametrize(
    "text",
    [
        *("", "a:b", "a:", "a:99999", "a:-1", "a:²", "a:1:2", "1:2:3:4:5:6:7:8:9"),
        *("[::1", "[::1]80", "[::1]:", "::1]", "[a]:1", "[]", "[]:1", "[[::1]]"),
    ],
)
def test_a_bad_address_is_refused_with_its_text(text: str) -> None:
    with pytest.raises(ValueError, match="cannot read") as refused:
        read_address(text, 8372)
    assert repr(text) in str(refused.value)


@pytest.mark.parametrize("text", ["127.0.0.1:80", "[::1]:80", "localhost:80"])
def test_an_address_comes_back_as_it_was_written(text: str) -> None:
    assert written_address(read_address(text, 1)) == text


def test_a_sockets_path_is_written_as_grpc_reads_it() -> None:
    assert written_address(Address("/run/torpor/one", 0)) == "unix:/run/torpor/one"
    assert written_address(Address("/run/a b#%41", 0)) == "unix:/run/a%20b%23%2541"


@given(st.ip_addresses().map(str), st.integers(0, 65535))
def test_whatever_is_written_is_read_back(host: str, port: int) -> None:
    assert read_address(written_address(Address(host, port)), 1) == Address(host, port)


@example("::%[")
@given(st.text(alphabet="[]:.a1%", max_size=12))
def test_an_address_that_is_read_can_be_written_and_read_again(text: str) -> None:
    try:
        address = read_address(text, 8372)
    except ValueError:
        return
    assert read_address(written_address(address), 1) == address


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "::1", "localhost"])
def test_loopback_stays_here(host: str) -> None:
    assert stays_here(host)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.1", "router.example", ""])
def test_all_else_is_reached_from_elsewhere(host: str) -> None:
    assert not stays_here(host)


@pytest.mark.parametrize("name", ["a", "one", "a-b", "0", "x" * 40])
def test_what_an_org_or_satellite_may_be_called(name: str) -> None:
    assert is_name(name)


@pytest.mark.parametrize("name", ["", "-a", "a-", "A", "a.b", "a_b", "x" * 41, "a\n", "\u0430"])
def test_what_it_may_not(name: str) -> None:
    assert not is_name(name)
