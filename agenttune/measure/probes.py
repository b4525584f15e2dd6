# SPDX-License-Identifier: GPL-2.0-only
"""Probes: which tracepoints a measurement uses, and what is lost without one."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from agenttune.measure.measurement import Missing

# Programs of this suffix replace their plain form where per-CPU kernel symbols can be read.
EXACT_SUFFIX = "_exact"
SEED = "seed"


@dataclass(frozen=True, slots=True)
class Probe:
    """Tracepoints that only make sense together. `for_agents`: needed only with selectors."""

    tracepoints: tuple[str, ...]
    consequence: str
    for_agents: bool = False


def _arch(name: str, what: str) -> Probe:
    return Probe(
        (f"{name}_entry", f"{name}_exit"),
        f"no count or time of {what}; their time counts to what they interrupt",
    )


PROBES = (
    Probe(
        ("irq_handler_entry", "irq_handler_exit"),
        "no hardirq count or time per vector; their time counts to what they interrupt",
    ),
    _arch("local_timer", "local timer interrupts (LOC)"),
    _arch("reschedule", "reschedule interrupts (RES)"),
    _arch("call_function", "function call interrupts to many CPUs (CAL)"),
    _arch("call_function_single", "function call interrupts to one CPU (CAL)"),
    _arch("irq_work", "IRQ work interrupts (IWI)"),
    Probe(("softirq_raise",), "no softirq latency"),
    Probe(("softirq_entry", "softirq_exit"), "no softirq count, time or latency"),
    Probe(("napi_poll",), "no NAPI polls"),
    Probe(("sched_waking",), "no wakeup latency", for_agents=True),
    Probe(
        ("task_rename",),
        "a running thread's new name counts only from its next turn",
        for_agents=True,
    ),
    Probe(("sched_switch",), "no agent run time or wakeup latency", for_agents=True),
)

# Where threads are found by their ids: when the kernel frees one.
FREED = Probe(("sched_process_free",), "threads that are gone take the room of new ones")

NO_PERCPU_SYMBOLS = Missing(
    "per-CPU kernel variables",
    "the kernel's symbol table leaves them out (CONFIG_KALLSYMS_ALL is not set)",
    "a softirq raised again just before it starts may have no latency sample;"
    " a waking by an interrupt without a tracepoint counts as the interrupted task's",
)


def wanted(has_agents: bool, realtime: bool) -> list[Probe]:
    """PREEMPT_RT switches tasks in the middle of a softirq, so there switches always matter."""
    return [
        probe
        for probe in PROBES
        if has_agents
        or not probe.for_agents
        or (realtime and probe.tracepoints == ("sched_switch",))
    ]


def split(
    probes: Iterable[Probe], has_tracepoint: Callable[[str], bool]
) -> tuple[set[str], list[Missing]]:
    """The tracepoints to attach, and the probes this kernel lacks."""
    tracepoints: set[str] = set()
    missing: list[Missing] = []
    for probe in probes:
        absent = [name for name in probe.tracepoints if not has_tracepoint(name)]
        if absent:
            missing += [
                Missing(name, "this kernel has no such tracepoint", probe.consequence)
                for name in absent
            ]
        else:
            tracepoints.update(probe.tracepoints)
    return tracepoints, missing


def program_is_wanted(program: str, tracepoint: str, tracepoints: set[str], exact: bool) -> bool:
    """Whether to load a program; where both forms exist, the one this kernel can run."""
    if program.endswith(EXACT_SUFFIX):
        return exact and tracepoint in tracepoints
    replaced = exact and program in ("softirq_raise", "sched_waking")
    return tracepoint in tracepoints and not replaced


@dataclass(frozen=True, slots=True)
class Hooks:
    """What to attach of an object, by the names in its programs' sections.

    `exact`: programs may read the kernel's per-CPU variables. `seeded`: run the seed program when
    the window opens.
    """

    probes: tuple[Probe, ...]
    tracepoints: frozenset[str]
    exact: bool
    seeded: bool
    missing: tuple[Missing, ...]

    def and_probe(self, probe: Probe) -> Hooks:
        """One more, which every kernel has."""
        tracepoints = self.tracepoints.union(probe.tracepoints)
        return replace(self, probes=(*self.probes, probe), tracepoints=tracepoints)

    def want(self, program: str, tracepoint: str) -> bool:
        return program_is_wanted(program, tracepoint, set(self.tracepoints), self.exact)

    def consequence(self, tracepoint: str) -> str:
        """What is lost without this tracepoint."""
        return next(probe.consequence for probe in self.probes if tracepoint in probe.tracepoints)


def hooks(
    table: Iterable[Probe], has_tracepoint: Callable[[str], bool], exact: bool, seeded: bool
) -> Hooks:
    """Those of the table that this kernel has."""
    table = tuple(table)
    tracepoints, missing = split(table, has_tracepoint)
    if not exact:
        missing.append(NO_PERCPU_SYMBOLS)
    return Hooks(table, frozenset(tracepoints), exact, seeded, tuple(missing))


def kernel_is_realtime() -> bool:
    return "PREEMPT_RT" in os.uname().version
