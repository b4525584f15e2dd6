# SPDX-License-Identifier: GPL-2.0-only
"""Which hooks `agenttune steps` uses, and what is lost without one."""

from __future__ import annotations

from dataclasses import replace

from agenttune.measure.backend import Kernel
from agenttune.measure.measurement import Missing
from agenttune.measure.probes import PROBES, Hooks, Probe, hooks

# A mark is a prctl() that is refused. Since v6.14 it has a tracepoint; before, the call is hooked.
MARK_TRACEPOINT = "task_prctl_unknown"
MARK_FUNCTION = "__x64_sys_prctl"
FAULT_FUNCTION = "handle_mm_fault"

_NO_MARKS = "no step is seen: only the completions of the selected threads are"

_STEPS = (
    *(
        probe
        for probe in PROBES
        if probe.tracepoints[0] == "softirq_raise" or probe.tracepoints[0].endswith("_entry")
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
    exact = kernel.percpu_symbols_resolve()
    chosen = hooks(
        table, lambda name: name == FAULT_FUNCTION or kernel.has_tracepoint(name), exact, True
    )
    mark = MARK_TRACEPOINT if kernel.has_tracepoint(MARK_TRACEPOINT) else MARK_FUNCTION
    return replace(
        chosen,
        probes=(*chosen.probes, Probe((mark,), _NO_MARKS)),
        tracepoints=chosen.tracepoints | {mark},
    )
