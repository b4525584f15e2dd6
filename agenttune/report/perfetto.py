# SPDX-License-Identifier: GPL-2.0-only
"""Perfetto: a trace as Chrome trace JSON, for ui.perfetto.dev and chrome://tracing.

The Trace Event Format, as published with the Chromium project: X slices, M names, and s/t/f flows
that bind to the slice around their time. Times are microseconds since the window began; three
decimals keep the nanoseconds.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import msgspec

from agenttune.measure.blame import from_interrupt
from agenttune.measure.legs import wait_legs
from agenttune.measure.trace import Bucket, Step, Trace, Wait
from agenttune.policy.remedy import Remedy
from agenttune.report.explanation import explain
from agenttune.report.names import printable, step_name
from agenttune.report.tracks import Hop, Look, Slice, Track, step_flows, step_slices

Event = dict[str, Any]

# Chrome's pid and tid are only numbers of groups and rows; the names say what they are.
CPUS = 1
FIRST_PROCESS = 2
# Rows of one track: slices that overlap without nesting go to a row of their own.
LANES = 64
_TRACKS = tuple(Track)


@dataclass(frozen=True, slots=True)
class _Piece:
    """A slice with its row, before rows are split into lanes."""

    pid: int
    row: int
    begin_ns: int
    end_ns: int
    name: str
    args: dict[str, Any] = field(default_factory=dict)


def perfetto_json(trace: Trace) -> bytes:
    """All of the trace's steps in one document. Deterministic."""
    body = {
        "displayTimeUnit": "ns",
        "otherData": {
            "made by": "agenttune",
            "kernel": trace.kernel,
            "engine": trace.engine,
            "window begins at CLOCK_MONOTONIC ns": str(trace.begin_ns),
        },
        "traceEvents": perfetto_events(trace),
    }
    return msgspec.json.encode(body) + b"\n"


def perfetto_events(trace: Trace) -> list[Event]:
    """Names first, then slices and flows, each row's in order of time."""
    pieces = _cpu_pieces(trace)
    threads = {key: index for index, key in enumerate(_threads(trace))}
    for step in trace.steps:
        pieces += _step_pieces(step, trace, threads[step.tgid, step.tid])
    placed = list(_placed(pieces))
    timed = [_slice_event(piece, lane, trace) for piece, lane in placed]
    timed += _flows(trace, placed)
    timed.sort(key=lambda event: (event["ts"], -event.get("dur", 0)))
    return [*_names(trace, threads, placed), *timed]


def _threads(trace: Trace) -> list[tuple[int, int]]:
    return sorted({(step.tgid, step.tid) for step in trace.steps})


def _row(track: Track, cpu: int) -> int:
    return (cpu * len(_TRACKS) + _TRACKS.index(track) + 1) * LANES


def _cpu_pieces(trace: Trace) -> list[_Piece]:
    """Several steps of one thread may tell of the same interrupt: it is drawn once."""
    found = {each: None for step in trace.steps for each in step_slices(step, trace)}
    return [
        _Piece(CPUS, _row(each.track, each.cpu), each.begin_ns, each.end_ns, _slice_name(each))
        for each in found
    ]


def _slice_name(each: Slice) -> str:
    return f"held by {each.name}" if each.look is Look.HELD else each.name


def _step_pieces(step: Step, trace: Trace, thread: int) -> Iterator[_Piece]:
    pid, row = FIRST_PROCESS + thread, LANES
    yield _Piece(pid, row, step.begin_ns, step.end_ns, step_name(step), _step_args(step, trace))
    for wait in step.waits:
        by_task = wait.waker_comm and not from_interrupt(wait.chain)
        args = {"waker": printable(wait.waker_comm)} if by_task else {}
        stretches = [(wait.out_ns, wait.in_ns, _wait_name(wait), args)]
        stretches += [(leg.begin_ns, leg.end_ns, leg.bucket, {}) for leg in wait_legs(wait)]
        for wait_begin_ns, wait_end_ns, name, each in stretches:
            # A step that shared its thread may have begun or ended inside a wait.
            begin_ns, end_ns = max(wait_begin_ns, step.begin_ns), min(wait_end_ns, step.end_ns)
            if begin_ns < end_ns:
                yield _Piece(pid, row, begin_ns, end_ns, name, each)


def _step_args(step: Step, trace: Trace) -> dict[str, Any]:
    found = explain(step, trace, Remedy(""))
    held = zip(Bucket, step.buckets_ns, strict=True)
    buckets = {f"{bucket} us": ns / 1000 for bucket, ns in held if ns}
    counts = {"waits": step.nr_waits, "waits shown": len(step.waits)}
    return {"why": found.sentence, **buckets, "residual us": step.residual_ns / 1000, **counts}


def _wait_name(wait: Wait) -> str:
    if wait.blocked:
        return "blocked"
    return "throttled" if wait.throttled else "preempted"


def _placed(pieces: Iterable[_Piece]) -> Iterator[tuple[_Piece, int]]:
    """Each piece with its row's first lane in which it nests or stands alone.

    The sort is stable: of two equal pieces the first given is the outer one.
    """
    rows: dict[tuple[int, int], list[list[int]]] = defaultdict(list)
    for piece in sorted(pieces, key=lambda each: (each.begin_ns, -each.end_ns)):
        lanes = rows[piece.pid, piece.row]
        fitting = (number for number, ends in enumerate(lanes) if _fits(piece, ends))
        number = next(fitting, len(lanes))
        if number == len(lanes):
            lanes.append([])
        lanes[number].append(piece.end_ns)
        yield piece, piece.row + min(number, LANES - 1)


def _fits(piece: _Piece, ends: list[int]) -> bool:
    """Whether it nests in what is open in this lane; forgets what is not open any more."""
    while ends and ends[-1] <= piece.begin_ns:
        ends.pop()
    return not ends or piece.end_ns <= ends[-1]


def _slice_event(piece: _Piece, lane: int, trace: Trace) -> Event:
    return {
        "ph": "X",
        "cat": "agenttune",
        "name": piece.name,
        "pid": piece.pid,
        "tid": lane,
        "ts": _us(piece.begin_ns - trace.begin_ns),
        "dur": _us(piece.end_ns - piece.begin_ns),
        "args": piece.args,
    }


def _flows(trace: Trace, placed: list[tuple[_Piece, int]]) -> Iterator[Event]:
    lanes: dict[tuple[int, int], int] = {}
    for piece, lane in placed:
        if piece.pid == CPUS:
            lanes.setdefault((piece.row, piece.begin_ns), lane)
    flow = 0
    for hops in (each for step in trace.steps for each in step_flows(step)):
        found = ((hop, _lane(lanes, hop)) for hop in hops)
        ends = [(hop, row) for hop, row in found if row is not None]
        if len(ends) < 2:
            continue
        flow += 1
        for index, (hop, lane) in enumerate(ends):
            phase = "s" if index == 0 else "f" if index == len(ends) - 1 else "t"
            yield _flow_event(phase, flow, lane, hop.ns - trace.begin_ns)


def _lane(lanes: dict[tuple[int, int], int], hop: Hop) -> int | None:
    return lanes.get((_row(hop.track, hop.cpu), hop.ns))


def _flow_event(phase: str, flow: int, lane: int, ns: int) -> Event:
    event = {
        "ph": phase,
        "cat": "chain",
        "name": "chain",
        "id": flow,
        "pid": CPUS,
        "tid": lane,
        "ts": _us(ns),
    }
    # Bind to the slice around it, not to the next one that begins.
    return event | {"bp": "e"} if phase == "f" else event


def _names(
    trace: Trace, threads: dict[tuple[int, int], int], placed: list[tuple[_Piece, int]]
) -> Iterator[Event]:
    yield _name("process_name", CPUS, 0, f"CPUs (Linux {trace.kernel})")
    comms = {(step.tgid, step.tid): step.comm for step in trace.steps}
    for (tgid, tid), index in threads.items():
        comm = printable(comms[tgid, tid])
        yield _name("process_name", FIRST_PROCESS + index, 0, f"{comm} {tid} of process {tgid}")
    for pid, lane in sorted({(piece.pid, lane) for piece, lane in placed}):
        yield _name("thread_name", pid, lane, _row_name(pid, lane))
        yield {"ph": "M", "name": "thread_sort_index", "pid": pid, "tid": lane, "ts": 0,
               "args": {"sort_index": lane}}  # fmt: skip


def _row_name(pid: int, lane: int) -> str:
    row, number = divmod(lane, LANES)
    if pid != CPUS:
        name = "steps"
    else:
        cpu, track = divmod(row - 1, len(_TRACKS))
        name = f"CPU {cpu} {_TRACKS[track]}"
    return f"{name} ({number + 1})" if number else name


def _name(kind: str, pid: int, tid: int, name: str) -> Event:
    return {"ph": "M", "name": kind, "pid": pid, "tid": tid, "ts": 0, "args": {"name": name}}


def _us(ns: int) -> float:
    return ns / 1000
