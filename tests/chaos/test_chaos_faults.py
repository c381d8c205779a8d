"""A seed gives one schedule of faults, and the schedule is what `make chaos` promises."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise, takewhile

import pytest
from chaoskit.faults import CUTTABLE, LONG, SHORT, Fault, Form, Kind, schedule

FORMS = {"short": SHORT, "long": LONG}


def of(seed: int, form: Form, seconds: float) -> list[Fault]:
    return list(takewhile(lambda fault: fault.at < seconds, schedule(seed, form)))


def test_a_seed_gives_the_same_faults_again() -> None:
    assert of(7, LONG, 600) == of(7, LONG, 600)
    assert of(7, LONG, 600) != of(8, LONG, 600)


def test_one_kind_s_settings_change_no_other() -> None:
    calm = replace(LONG, kill=(1e9, 1e9))
    without = [fault for fault in of(7, LONG, 600) if fault.kind is not Kind.NODE_KILL]
    assert [fault for fault in of(7, calm, 600) if fault.kind is not Kind.NODE_KILL] == without


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_faults_come_in_order_and_hit_nodes_that_exist(form: Form) -> None:
    faults = of(1, form, 2_000)
    assert faults == sorted(faults, key=lambda fault: fault.at)
    assert {fault.node for fault in faults} == set(range(form.nodes))
    assert {fault.kind for fault in faults} == set(Kind)


def test_postgres_is_broken_every_5_to_40_seconds() -> None:
    kinds = {kind for kind in Kind if kind.name.startswith("POSTGRES")} | {Kind.CONNECTIONS_CUT}
    at = [fault.at for fault in of(1, LONG, 3_600) if fault.kind in kinds]
    gaps = [after - before for before, after in pairwise(at)]
    assert min(gaps) >= 5
    assert max(gaps) <= 40


def test_only_the_node_that_has_one_loses_its_link() -> None:
    links = {Kind.LINK_CUT, Kind.HOST_VANISHED}
    assert {fault.node for fault in of(1, LONG, 3_600) if fault.kind in links} == {CUTTABLE}


def test_pauses_lie_around_and_beyond_the_lives_of_claims_and_leases() -> None:
    lasts = [fault.lasts for fault in of(1, LONG, 3_600) if fault.kind is Kind.NODE_PAUSE]
    assert any(5 < each < 7 for each in lasts)
    assert any(7 < each < 9 for each in lasts)
    assert any(each > 61 for each in lasts)
    short = [fault.lasts for fault in of(1, SHORT, 3_600) if fault.kind is Kind.NODE_PAUSE]
    assert max(short) < 15
