# SPDX-License-Identifier: GPL-2.0-only
"""Which hooks `agenttune steps` uses, and what is lost without one."""

from __future__ import annotations

from agenttune.measure.backend import Kernel
from agenttune.measure.measurement import Missing
from agenttune.measure.probes import PROBES, Hooks, Probe, hooks

FAULT_FUNCTION = "handle_mm_fault"

# What is hooked before the tracepoint came: v6.13 (a mark is a prctl() that is refused), v6.3.
_OLDER = {"task_prctl_unknown": "__x64_sys_prctl", "sk_data_ready": "sock_def_readable"}
_FUNCTIONS = {FAULT_FUNCTION, *_OLDER.values()}

_STEPS = (
    *(
        probe
        for probe in PROBES
        if probe.tracepoints[0] == "softirq_raise" or probe.tracepoints[0].endswith("_entry")
    ),
    Probe(
        ("task_prctl_unknown",),
        "no step is seen: only the completions of the selected threads are",
    ),
    Probe(("sched_waking",), "what ends a wait is not seen: blocked time counts as unseen"),
    Probe(("sched_wakeup",), "no time from waking to wakeup; it counts to the run queue"),
    Probe(("sched_switch",), "no waits: all time of a step counts as run"),
    Probe(
        ("sched_process_exit",),
        "sockets bound to a step whose thread exits stay bound until the window closes",
    ),
    Probe(("sk_data_ready",), "no socket completions; bound sockets do not split shared steps"),
    Probe(("block_rq_complete",), "no block completions"),
    Probe(("io_uring_complete",), "no io_uring completions"),
    Probe(("page_fault_user",), "no count of page faults"),
)
_SYSCALLS = (Probe(("sys_enter", "sys_exit"), "system calls count as run; no 'resume' leg"),)
_FAULTS = (Probe((FAULT_FUNCTION,), "page faults count as what they interrupt"),)
NO_FAULTS = Missing(
    FAULT_FUNCTION, "the kernel refuses to hook a function (fentry)", _FAULTS[0].consequence
)


def choose(kernel: Kernel, syscalls: bool, faults: bool) -> Hooks:
    """The hooks for this kernel.

    `syscalls` adds every system call of the host, `faults` every page fault's handling: a kernel
    that lets BPF hook no function refuses to load that.
    """
    table = _STEPS + (_SYSCALLS if syscalls else ()) + (_FAULTS if faults else ())
    return hooks(
        (_hookable(each, kernel) for each in table),
        lambda name: name in _FUNCTIONS or kernel.has_tracepoint(name),
        kernel.percpu_symbols_resolve(),
        seeded=True,
    )


def _hookable(probe: Probe, kernel: Kernel) -> Probe:
    """The function that older kernels have in the tracepoint's place, if there is one."""
    (name, *_) = probe.tracepoints
    if name in _OLDER and not kernel.has_tracepoint(name):
        return Probe((_OLDER[name],), probe.consequence)
    return probe
