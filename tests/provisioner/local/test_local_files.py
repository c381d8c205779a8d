"""The record and the call log, as they lie on disk."""

from __future__ import annotations

from pathlib import Path
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from torpor_provisioner.calls import Call, read_calls, write_call
from torpor_provisioner.contract import Arch
from torpor_provisioner.files import write_atomically
from torpor_provisioner.local.record import Phase, Record


@given(
    st.builds(
        Record,
        satellite_id=st.uuids(),
        arch=st.sampled_from(Arch),
        phase=st.sampled_from(Phase),
        settings=st.dictionaries(st.text(), st.text()),
        since=st.floats(allow_nan=False),
    )
)
def test_a_record_reads_back_as_it_was_written(record: Record) -> None:
    assert Record.from_json(record.to_json()) == record


def test_a_replaced_file_is_never_seen_in_half(tmp_path: Path) -> None:
    file = tmp_path / "machine.json"
    write_atomically(file, "first")
    with file.open() as reader:
        write_atomically(file, "second")
        assert reader.read() == "first"
    assert file.read_text() == "second"
    assert [path.name for path in tmp_path.iterdir()] == ["machine.json"]


def test_a_call_written_again_after_a_crash_counts_once(tmp_path: Path) -> None:
    assert read_calls(tmp_path) == []
    for number in (1, 2, 2):
        write_call(tmp_path, Call("local-1", number, "acme/one", "wake", "resumed"))
    write_call(tmp_path, Call("local-2", 2, "acme/two", "wake", "started"))
    calls = read_calls(tmp_path)
    assert [(call.ref, call.number) for call in calls] == [
        ("local-1", 1),
        ("local-1", 2),
        ("local-2", 2),
    ]
    assert all(call.at.endswith("+00:00") and call.by for call in calls)


def test_a_machine_is_called_by_its_full_name() -> None:
    record = Record(UUID(int=1), 1, "acme", "one", Arch.ARM64, True, {}, 1, Phase.STOPPED, 0, 1)
    assert record.full_name == "acme/one"
