"""A run in a table."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from chaoskit.records import Answer, Index, Name


def rows(index: Index, found: Mapping[str, Sequence[str]]) -> Iterator[tuple[str, str]]:
    """What was done, what was broken, and what must be 0."""
    records = index.records
    calls = records.calls
    starts = [call for call in calls if call.name is Name.WAKE]
    sleeps = [call for call in calls if call.name is Name.SLEEP]
    first = sorted(each.took for each in records.requests if each.first and each.done)
    yield "machines started", f"{sum(call.effect for call in starts):,}"
    yield "machines put to sleep", f"{sum(call.effect for call in sleeps):,}"
    for name, made in (("start", starts), ("sleep", sleeps)):
        refused = sum(call.answer is Answer.REFUSED for call in made)
        unheard = sum(call.answer is Answer.LOST for call in made)
        undone = (Answer.REFUSED, Answer.GIVEN_UP)
        again = sum(not call.effect and call.answer not in undone for call in made)
        given_up = sum(call.answer is Answer.GIVEN_UP for call in made)
        yield f"{name} calls refused by the cloud", f"{refused:,}"
        yield f"{name} calls that hung until their time was up", f"{given_up:,}"
        yield f"{name} calls whose answer was lost", f"{unheard:,}"
        yield f"{name} calls made again, the first having shown no effect", f"{again:,}"
    yield "calls that a paused node sent late", f"{sum(call.late for call in calls):,}"
    lost = [row for each in records.lost for row in each.rows]
    yield "transitions that failovers lost", f"{len(lost):,}"
    lost_claims = sum(index.lost_claim(call) for call in calls)
    yield "calls under a claim that a failover had just lost", f"{lost_claims:,}"
    yield "requests", f"{len(records.requests):,}"
    yield "of which streams", f"{sum(each.shape == 'stream' for each in records.requests):,}"
    yield "of which met a satellite asleep", f"{sum(each.first for each in records.requests):,}"
    attempts = [attempt for each in records.requests for attempt in each.attempts]
    yield "attempts made for them", f"{len(attempts):,}"
    turned_away = sum(attempt.turned_away for attempt in attempts)
    yield "of which met a connection that was being closed in order", f"{turned_away:,}"
    for name, share in (("half", 0.5), ("99 %", 0.99), ("all", 1.0)):
        if first:
            at = min(len(first) - 1, int(share * len(first)))
            yield f"{name} of those that met one asleep were done within", f"{first[at]:.1f} s"
    for kind, count in sorted(records.faults.items()):
        yield kind, f"{count:,}"
    away = sum(span.lasted for span in records.outages)
    yield "Postgres was away", f"{away:,.0f} s"
    yield "the clients' own process stood still for over 2 s", f"{len(records.stalls):,} times"
    for name, sentences in found.items():
        yield f"**{name}**", f"**{len(sentences)}**"


def table(index: Index, found: Mapping[str, Sequence[str]]) -> str:
    lines = ["| | |", "|---|---|"]
    lines += [f"| {name} | {value} |" for name, value in rows(index, found)]
    return "\n".join(lines) + "\n"


def slowest(index: Index, number: int = 3) -> Iterator[str]:
    """The requests that took longest, for whoever wants to know why."""
    done = sorted(index.records.requests, key=lambda each: -each.took)[:number]
    for request in done:
        tries = "; ".join(
            f"node {each.node} {each.began - request.began:.1f} to "
            f"{(each.ended or request.began) - request.began:.1f} s {each.status}"
            for each in request.attempts
        )
        yield f"{request.ref} {request.id} at {request.began:.2f}, {request.took:.1f} s: {tries}"
