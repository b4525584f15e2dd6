# SPDX-License-Identifier: GPL-2.0-only
"""Which tracepoints each probe uses, and what its figures mean."""

from __future__ import annotations

from dataclasses import dataclass

from agenttune.measure.measurement import Missing
from agenttune.measure.probe_layout import ProbeName
from agenttune.measure.probes import Probe, kernel_is_realtime

# The function that a page fault's duration is the time of, where BPF can hook it.
FAULT_FUNCTION = "handle_mm_fault"

_HANDLERS = Probe(("irq_handler_entry", "irq_handler_exit"), "no interrupt handlers")
_ARCHS = tuple(
    Probe((f"{name}_entry", f"{name}_exit"), f"no {what}; their time counts to what they interrupt")
    for name, what in (
        ("local_timer", "local timer interrupts (LOC)"),
        ("reschedule", "reschedule interrupts (RES)"),
        ("call_function", "function call interrupts to many CPUs (CAL)"),
        ("call_function_single", "function call interrupts to one CPU (CAL)"),
        ("irq_work", "IRQ work interrupts (IWI)"),
    )
)
_RAISE = Probe(("softirq_raise",), "no softirq latency, and no chain through a softirq")
_SOFTIRQS = Probe(("softirq_entry", "softirq_exit"), "no softirq time or latency")
_POLLS = Probe(("napi_poll",), "no NAPI polls")
_WAKINGS = Probe(("sched_waking", "sched_switch"), "no wakings")
_SWITCHES = Probe(("sched_switch",), "no waits")
_SYSCALLS = Probe(("sys_enter", "sys_exit"), "no system calls")
_REQUESTS = Probe(("block_rq_issue", "block_rq_complete"), "no requests")
_REQUEUES = Probe(("block_rq_requeue",), "a requeued request is timed from its first issue")
_MERGES = Probe(("block_rq_merge",), "a request that merges into another stays in memory")
_FAULTS = Probe(("page_fault_user",), "no count of page faults, and no waits in them")
_FRAMES = (_HANDLERS, *_ARCHS, _RAISE, _SOFTIRQS)


@dataclass(frozen=True, slots=True)
class ProbeSpec:
    """One probe. `needs_agents`: it times agents, and so must know them."""

    probes: tuple[Probe, ...]
    needs_agents: bool
    notes: tuple[str, ...]


SPECS = {
    ProbeName.IRQ: ProbeSpec(
        (_HANDLERS, *_ARCHS),
        False,
        ("A handler's time is its own: interrupts that nested in it are subtracted.",),
    ),
    ProbeName.SOFTIRQ: ProbeSpec(
        (*_FRAMES, _POLLS),
        False,
        (
            "Times are without the interrupts that came in between.",
            "A poll is timed from the poll before it, or from NET_RX's entry:"
            " the kernel's poll function is inlined. Outside NET_RX its begin is not observable.",
        ),
    ),
    ProbeName.WAKEUP: ProbeSpec(
        (_WAKINGS,), True, ("From the waking to the switch to the agent.",)
    ),
    ProbeName.SYSCALL: ProbeSpec(
        (_SYSCALLS,),
        True,
        (
            "Cost: while this probe runs, every system call of every task takes the slow path,"
            " about 200 to 300 ns more each.",
            "Times include waiting inside the call; a call that has not returned is not in them.",
        ),
    ),
    ProbeName.BLOCK: ProbeSpec(
        (_REQUESTS, _REQUEUES, _MERGES),
        False,
        ("From a request's last issue to its completion; by request, not by sector.",),
    ),
    ProbeName.FAULT: ProbeSpec((_FAULTS,), True, ()),
    ProbeName.IRQ_TO_RUN: ProbeSpec(
        (*_FRAMES, _WAKINGS),
        True,
        (
            "near: the note's approximation, from the last device interrupt's exit on the CPU where"
            " the agent runs, whatever woke it.",
            "exact: from the exit of the interrupt that began the chain to the agent's waking, on"
            " whatever CPU it came. A chain begins anew at another CPU's function call (CAL), and"
            " ends at a workqueue's worker, which serves many.",
        ),
    ),
}

FUNCTION_NOTE = "A page fault's time is that of handle_mm_fault, retries of one fault together."
WAIT_NOTE = (
    "This kernel lets BPF hook no function, so only waits inside page faults are timed, from the"
    " switch away to the switch back: what major faults wait for. A minor fault's time is not"
    " observable; it is in the count."
)
NO_FUNCTION = Missing(
    FAULT_FUNCTION,
    "the kernel refuses to hook a function (fentry)",
    "no duration of minor page faults; of major ones only the waits",
)


FAULT_HOOKS = (_FAULTS, Probe((FAULT_FUNCTION,), NO_FUNCTION.consequence))


def tracepoints_of(name: ProbeName) -> tuple[Probe, ...]:
    """All that a probe hooks; of fault, what replaces the function where it cannot be hooked."""
    if name is ProbeName.FAULT:
        return (_FAULTS, _SWITCHES)
    # PREEMPT_RT switches tasks in the middle of a softirq.
    realtime = (_SWITCHES,) if name is ProbeName.SOFTIRQ and kernel_is_realtime() else ()
    return (*SPECS[name].probes, *realtime)
