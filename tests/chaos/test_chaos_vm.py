"""What a run on virtual machines reads: consoles, of which a build may write, and notes."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

from chaoskit.records import Answer, Life, Name, Records
from chaoskit.vm import Satellite, VmCloud
from chaoskit.vm_provisioner import CONSOLE, NOTES, Notes, open_streams, streams

from torpor_provisioner.contract import Address, Arch

REF, NAME = "vm-0123456789abcdef", "m-0000"


def test_a_console_tells_which_calls_are_open(tmp_path: Path) -> None:
    assert streams(tmp_path) == []
    console = b"[ 0.1] Linux \xff\r\n\r\nwitness booted -\r\nwitness opened r1.0\r\n"
    console += b"agent: hello\r\nwitness opened r2.0\r\n\r\nwitness closed r1.0\r\nwitness op"
    (tmp_path / CONSOLE).write_bytes(console)
    assert streams(tmp_path)[:2] == [("booted", "-"), ("opened", "r1.0")]
    assert open_streams(tmp_path) == ["r2.0"]
    (tmp_path / CONSOLE).write_bytes(console + b"\r\nwitness booted -\r\n")
    assert open_streams(tmp_path) == [], "a boot ends them"


def test_what_a_killed_node_had_begun_is_a_call_whose_answer_was_lost(tmp_path: Path) -> None:
    records = Records(lives=[Life(0, 7, 0.0, served=1.0)])
    cloud = VmCloud(1, tmp_path, records)
    cloud.machines = [Satellite(NAME, REF, None, Arch.X86_64, Address("", 1))]  # type: ignore[arg-type]
    wake = {"pid": 7, "call": "wake", "ref": REF, "made": 1.0, "when": 1.5, "cut": []}
    sleep = {**wake, "call": "sleep", "made": 3.0, "when": 3.1, "effect": True, "cut": ["r1.0"]}
    notes = [
        {**wake, "at": 1.5, "effect": True, "answer": "begun"},
        {**wake, "at": 2.0, "effect": True, "answer": "ok"},
        {"at": 2.5, "pid": 7, "seen": {REF: "running"}},
        {**sleep, "at": 3.1, "answer": "begun"},
        {"at": 3.2, "pid": 7, "died": "after save", "fault": "nodes killed"},
        {"at": 4.0, "pid": 9, "broken": REF, "fault": "hypervisors killed"},
    ]
    (tmp_path / NOTES).write_text("".join(json.dumps(note) + "\n" for note in notes))
    asyncio.run(cloud.tell())
    woken, slept = records.calls
    assert (woken.name, woken.answer, woken.effect, woken.at) == (Name.WAKE, Answer.OK, True, 1.5)
    assert (slept.answer, slept.cut) == (Answer.LOST, ("r1.0",))
    assert [look.state for look in records.looks] == ["running"]
    assert records.lives[0].killed
    assert records.broken == [(4.0, NAME)]
    assert records.faults == {"nodes killed": 1, "hypervisors killed": 1}
    assert asyncio.run(cloud.wakes()) == 1


def test_calm_is_for_all_processes(tmp_path: Path) -> None:
    notes = Notes(tmp_path)
    assert not notes.calm
    asyncio.run(VmCloud(1, tmp_path, Records()).calm())
    assert notes.calm
