# SPDX-License-Identifier: GPL-2.0-only
"""What each net_rx_action() did, by the kernel's own trace events: nothing of the module's."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from trace_instance import trace_instance

_NET_RX = 3
_BUFFER_KIB = 12 * 1024
_LINE = re.compile(r"-(\d+)\s+\[\d+\].*?\s(\d+\.\d+): (\w+): (.*)")
_POLL = re.compile(r"struct (\S+) for device (\S+) work (-?\d+) budget (\d+)")


@dataclass(frozen=True)
class Poll:
    """One call of a NAPI's poll."""

    napi: str
    device: str
    packets: int
    weight: int


@dataclass(frozen=True)
class Action:
    """One net_rx_action()."""

    cpu: int
    us: float
    polls: list[Poll]

    @property
    def packets(self) -> int:
        return sum(poll.packets for poll in self.polls)

    @property
    def busy_napis(self) -> int:
        """NAPIs that had packets."""
        return len({poll.napi for poll in self.polls if poll.packets})


@dataclass
class Recording:
    """The net_rx_action() calls while it ran, and the polls outside any: threads, busy polling."""

    actions: list[Action] = field(default_factory=list)
    outside: list[Poll] = field(default_factory=list)

    def on(self, cpu: int) -> list[Action]:
        return [action for action in self.actions if action.cpu == cpu]

    def off(self, cpu: int) -> list[Action]:
        return [action for action in self.actions if action.cpu != cpu]


def largest(actions: list[Action]) -> int:
    """Packets of the largest."""
    return max((action.packets for action in actions), default=0)


@contextmanager
def recorded() -> Iterator[Recording]:
    """Filled in at the end. Raises AssertionError where the buffers lost events."""
    recording = Recording()
    with trace_instance("net_rx") as instance:
        (instance / "tracing_on").write_text("0")
        (instance / "buffer_size_kb").write_text(str(_BUFFER_KIB))
        for event in ("irq/softirq_entry", "irq/softirq_exit"):
            (instance / "events" / event / "filter").write_text(f"vec == {_NET_RX}")
            (instance / "events" / event / "enable").write_text("1")
        (instance / "events/napi/napi_poll/enable").write_text("1")
        (instance / "tracing_on").write_text("1")
        try:
            yield recording
        finally:
            (instance / "tracing_on").write_text("0")
        for folder in sorted((instance / "per_cpu").iterdir()):
            assert "overrun: 0\n" in (folder / "stats").read_text()
            _read(recording, int(folder.name.removeprefix("cpu")), folder / "trace")


def _read(recording: Recording, cpu: int, trace: Path) -> None:
    """One CPU's events. A net_rx_action() is one task's: on PREEMPT_RT others come between."""
    began: tuple[str, float] | None = None
    polls: list[Poll] = []
    early: list[tuple[str, Poll]] | None = []  # before the first softirq
    with trace.open() as lines:
        for line in lines:
            if not (found := _LINE.search(line)):
                continue
            task, time, event, words = found[1], float(found[2]), found[3], found[4]
            if event.startswith("softirq_") and early is not None:
                # One that ran when the recording began is left out.
                cut = task if event == "softirq_exit" else None
                recording.outside += [poll for by, poll in early if by != cut]
                early = None
            if event == "softirq_entry":
                began, polls = (task, time), []
            elif event == "softirq_exit" and began and began[0] == task:
                recording.actions.append(Action(cpu, (time - began[1]) * 1e6, polls))
                began = None
            elif event == "napi_poll" and (poll := _POLL.search(words)):
                one = Poll(poll[1], poll[2], int(poll[3]), int(poll[4]))
                if began and began[0] == task:
                    polls.append(one)
                elif early is not None:
                    early.append((task, one))
                elif not began:
                    recording.outside.append(one)
    recording.outside += [poll for _, poll in early or []]
