"""What is asked of a machine is checked before a line is written."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from torpor_provisioner.bootstrap import Machine, Worker
from torpor_provisioner.errors import Invalid


@pytest.mark.parametrize(
    ("bad", "told"),
    [
        ({"cpu_percent": 100}, "cpu_percent"),
        ({"cpu_percent": 0}, "cpu_percent"),
        ({"memory_percent": 96}, "memory_percent"),
        ({"cache_percent": 86}, "cache_percent"),
        ({"nameservers": ("dns.example",)}, "no IP address"),
        ({"resolvers": ("10.0.0.2",)}, "block_resolver"),
        ({"block_resolver": True}, "nameservers"),
        ({"tls_secret": "a b"}, "no name of a secret"),
        ({"tls_secret": "$(reboot)"}, "no name of a secret"),
        ({"bridge": "10.10.0.1/16"}, "host bits"),
        ({"bridge": "fd00::/64"}, "IPv4 range"),
        ({"bridge": "100.64.0.0/10"}, "IPv4 range"),
        ({"bridge": "10.10.0.0/16", "networks": ("fd00::/56", "10.0.0.0/8")}, "overlaps"),
        ({"networks": ("100.127.3.0/24",)}, "overlaps"),
        ({"networks": ("all",)}, "no range"),
        ({"launch_token": "a b"}, "launch_token"),
        ({"org": "a\nb"}, "org"),
        ({"satellite": "$(reboot)"}, "satellite"),
        ({"port": "8372; reboot"}, "port"),
    ],
)
def test_what_cannot_be_meant_is_refused(bad, told):
    with pytest.raises(Invalid, match=told):
        Machine(**bad)


def test_a_bazel_cache_runs_nothing_that_would_need_names():
    assert Machine(worker=Worker.BAZEL_CACHE, block_resolver=True).nameservers == ()


def test_the_builds_own_network_is_clear_of_every_private_range():
    private = ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "198.18.0.0/15", "fd00::/8")
    assert Machine(networks=private).bridge == "100.127.0.0/16"


@given(st.text())
def test_no_text_reaches_the_shell(text):
    try:
        made = Machine(tls_secret=text, org=text or "o")
    except Invalid:
        return
    assert not set(made.tls_secret + made.org) & set(" \t\n'\"\\$`;&|<>(){}[]*?!#~")
