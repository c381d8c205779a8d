"""Processes told apart from those that get the same number later, and signalled as a session."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress

import pytest
from waiting import until_blocking

from torpor_provisioner.local import processes
from torpor_provisioner.local.processes import Identity
from torpor_provisioner.local.tree import Tree

LINUX = pytest.mark.skipif(not processes.PROC.joinpath("self").exists(), reason="needs /proc")


@pytest.fixture
def session() -> Iterator[Callable[[str], Identity]]:
    """Starts a shell that leads a session; returns once it has printed a line."""
    started: list[subprocess.Popen[bytes]] = []

    def start(script: str) -> Identity:
        process = subprocess.Popen(
            ["bash", "-c", script], stdout=subprocess.PIPE, start_new_session=True
        )
        started.append(process)
        assert process.stdout is not None
        process.stdout.readline()
        found = processes._read(process.pid)
        assert found is not None
        return found.identity

    yield start
    for process in started:
        for member in [p for p in processes.table() if p.session == process.pid]:
            with suppress(ProcessLookupError):
                os.kill(member.identity.pid, signal.SIGKILL)
        process.communicate()


def states(leader: Identity) -> set[bool]:
    return {process.frozen for process in Tree(leader).members()}


# A shell's job control would act on its stopped children; this one only gives each a group.
GROUPS = f"""exec {sys.executable} -c '
import os, time
for _ in range(2):
    child = os.fork()
    if not child:
        break
    os.setpgid(child, child)
else:
    print("ready", flush=True)
time.sleep(1000)
'"""


def test_every_group_of_the_session_is_frozen_resumed_and_killed(session) -> None:
    leader = session(GROUPS)
    members = Tree(leader).members()
    assert len(members) == 3
    assert len({member.group for member in members}) == 3
    Tree(leader).freeze()
    assert states(leader) == {True}
    Tree(leader).send(signal.SIGCONT)
    until_blocking(lambda: states(leader) == {False})
    assert Tree(leader).kill(patience=60)
    assert Tree(leader).members() == []
    assert processes.find(leader) is None, "dead, though nobody has collected it"


def test_another_process_of_the_same_number_is_never_signalled(session) -> None:
    leader = session("echo ready; sleep 1000")
    earlier = Identity(leader.pid, "another boot/1")
    assert processes.find(earlier) is None
    assert Tree(earlier).members() == []
    assert Tree(earlier).kill(patience=0)
    assert processes.find(leader) is not None


@LINUX
def test_what_a_dead_leader_leaves_is_found_by_its_mark_alone(session) -> None:
    gone = session("echo ready; sleep 1000 & exit")
    until_blocking(lambda: processes.find(gone) is None)
    left = [p for p in processes.table() if p.session == gone.pid and p.alive]
    assert left, "the background job lives on"
    assert Tree(gone).members() == [], "without the mark it is not known to be ours"

    variables = processes.mark(Identity(os.getpid(), "x"))
    [name] = variables
    script = (
        f"export {name}=$$/$(cat /proc/sys/kernel/random/boot_id)/$(cut -d' ' -f22 /proc/$$/stat)"
    )
    marked = session(f"{script}; echo ready; sleep 1000 & exit")
    until_blocking(lambda: processes.find(marked) is None)
    # What was forked shows the shell's own environment until it has become `sleep`
    until_blocking(lambda: len(Tree(marked).members()) == 1)
    assert Tree(marked).kill(patience=60)


def test_the_process_table_is_the_same_with_ps(monkeypatch: pytest.MonkeyPatch, session) -> None:
    leader = session(GROUPS)
    with_proc = {(p.identity.pid, p.group, p.session) for p in Tree(leader).members()}
    monkeypatch.setattr(processes, "PROC", processes.PROC / "none")
    found = processes._read(leader.pid)
    assert found is not None
    assert processes.find(found.identity) == found
    with_ps = {(p.identity.pid, p.group, p.session) for p in Tree(found.identity).members()}
    assert with_ps == with_proc
    Tree(found.identity).freeze()
    assert states(found.identity) == {True}
    assert processes.find(Identity(leader.pid, "Mon Jan 1 00:00:00 2001")) is None
    assert processes._read(2**22 + 1) is None


def test_a_name_full_of_brackets_is_read(session) -> None:
    program = (
        f"exec -a 'x) Z (1 2' {sys.executable} -c 'print(flush=True); import time; time.sleep(99)'"
    )
    process = subprocess.Popen(
        ["bash", "-c", program], stdout=subprocess.PIPE, start_new_session=True
    )
    try:
        assert process.stdout is not None
        process.stdout.readline()
        found = processes._read(process.pid)
        assert found is not None
        assert (found.group, found.session, found.alive) == (process.pid, process.pid, True)
    finally:
        process.kill()
        process.communicate()


def test_one_knows_oneself() -> None:
    found = processes.find(processes.me())
    assert found is not None
    assert found.group == os.getpgrp()
    assert found.session == os.getsid(0)
