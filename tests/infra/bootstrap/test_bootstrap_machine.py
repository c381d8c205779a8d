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


@given(st.text())
def test_no_text_reaches_the_shell(text):
    try:
        made = Machine(tls_secret=text, org=text or "o")
    except Invalid:
        return
    assert not set(made.tls_secret + made.org) & set(" \t\n'\"\\$`;&|<>(){}[]*?!#~")
