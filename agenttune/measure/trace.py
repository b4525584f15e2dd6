# SPDX-License-Identifier: GPL-2.0-only
"""Trace: what one window of `agenttune steps` saw, as frozen values."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from agenttune.measure.histogram import Histogram
from agenttune.measure.measurement import Coverage


class Bucket(StrEnum):
    """Where a nanosecond of a step went, in the order of enum at_bucket (bpf/wait.h)."""

    RUN = "run"
    SYSCALL = "syscall"
    FAULT = "page fault"
    STOLEN_HARDIRQ = "stolen by hardirq"
    STOLEN_SOFTIRQ = "stolen by softirq"
    WAKE_IPI = "waking to wakeup"
    RUN_QUEUE = "run queue"
    PREEMPTED = "preempted"
    THROTTLED = "throttled"
    EXTERNAL = "external"
    CHAIN_HARDIRQ = "hardirq"
    CHAIN_PENDING = "softirq pending"
    CHAIN_SOFTIRQ = "softirq"
    CHAIN_THREAD = "irq thread"
    EVENT_LOOP = "event loop"
    UNSEEN = "unseen"


class StepKind(StrEnum):
    """The kind a mark carries, in the order of its number."""

    OTHER = "other"
    TOOL = "tool"
    MODEL = "model"


class CompletionKind(StrEnum):
    NONE = "none"
    SOCKET = "socket"
    BLOCK = "block"
    URING = "io_uring"
    TIMER = "timer"


class ObjectKind(StrEnum):
    """What a blocked system call waited on, in the order of enum at_object."""

    NONE = "none"
    FILE = "file"
    PIPE = "pipe"
    SOCKET = "socket"
    FUTEX = "futex"
    TIMER = "timer"
    CHILD = "child"
    POLL = "poll"
    URING = "io_uring"


@dataclass(frozen=True, slots=True)
class Chain:
    """One completion from device to waking. Times: ns on CLOCK_MONOTONIC, None: no such leg.

    `irq` is the IRQ number, or None where a task began it or the interrupt is hidden from
    tracepoints (`hidden_irq`); `arch` names an x86 interrupt without a number (LOC, RES, ...).
    `shared`: the softirq may have worked for several interrupts, `irq` is the first. `origin` is
    the tid of the task that began it; `conduit` the kernel thread that carried it on.
    """

    irq: int | None
    arch: str | None
    irq_cpu: int | None
    irq_ns: int | None
    raise_ns: int | None
    entry_ns: int | None
    thread_ns: int | None
    softirq: str | None
    cpu: int
    origin: int | None
    conduit: int | None
    shared: bool
    ksoftirqd: bool
    hidden_irq: bool
    completion: CompletionKind = CompletionKind.NONE
    done_ns: int | None = None
    subject: int = 0
    latency_ns: int = 0
    bytes: int = 0


@dataclass(frozen=True, slots=True)
class Thief:
    """The interrupt that took more than half of some interrupt time. softirq None: a hardirq."""

    irq: int | None
    arch: str | None
    softirq: str | None


@dataclass(frozen=True, slots=True)
class Holder:
    """Who had the CPU while a thread was runnable. `seen_ns` of that time is known.

    `softirq_ns` and `hardirq_ns` are interrupt time in the same window, whoever was current; None
    when the thread was moved meanwhile. `tid` None: no task seen (idle only).
    """

    cpu: int
    tid: int | None
    comm: str
    held_ns: int
    seen_ns: int
    idle_ns: int
    softirq_ns: int | None
    hardirq_ns: int | None
    softirq_thief: Thief | None
    hardirq_thief: Thief | None


@dataclass(frozen=True, slots=True)
class Wait:
    """One interval off the CPU. `waking_ns` None: it stayed runnable, or no waking was seen.

    `like_ns` is what `like_waits` others spent blocked up to their chains: waits in the same step,
    for the same kind of thing, brought by the same interrupt or task, too short to be kept.
    """

    out_ns: int
    waking_ns: int | None
    wakeup_ns: int | None
    in_ns: int
    out_cpu: int
    queue_cpu: int
    in_cpu: int
    blocked: bool
    throttled: bool
    migrated: bool
    in_fault: bool
    in_io: bool
    waking_seen: bool
    chain: Chain | None
    waker: int | None
    waker_comm: str
    waker_cpu: int | None
    holder: Holder
    syscall: int | None
    object_kind: ObjectKind
    object: int
    like_ns: int = 0
    like_waits: int = 0


@dataclass(frozen=True, slots=True)
class Ready:
    """The last completion of a step's bound socket."""

    cookie: int
    ready_ns: int
    count: int
    chain: Chain


@dataclass(frozen=True, slots=True)
class Step:
    """One step. `buckets_ns` is in Bucket's order and sums to end_ns - begin_ns but for `residual`.

    `waits` are the longest ones kept (at most 8 of `nr_waits`), oldest first. `ambiguous`: other
    steps shared the thread and no bound socket tells their completions apart.
    """

    id: int
    tgid: int
    tid: int
    comm: str
    name: str
    kind: StepKind
    begin_ns: int
    end_ns: int
    deadline_ns: int | None
    budget_us: int | None
    cpu: int
    buckets_ns: tuple[int, ...]
    nr_waits: int
    preemptions: int
    migrations: int
    faults: int
    coalesced: int
    unattributed: int
    overlapped: bool
    interleaved: bool
    ambiguous: bool
    stolen_softirq: Thief | None
    stolen_hardirq: Thief | None
    ready: Ready | None
    waits: tuple[Wait, ...]

    @property
    def duration_ns(self) -> int:
        return self.end_ns - self.begin_ns

    @property
    def residual_ns(self) -> int:
        """Duration that no bucket holds; negative when the buckets hold too much."""
        return self.duration_ns - sum(self.buckets_ns)

    def ns(self, bucket: Bucket) -> int:
        return self.buckets_ns[tuple(Bucket).index(bucket)]


@dataclass(frozen=True, slots=True)
class KindFigures:
    """All steps of one kind in the window, also those whose record was not kept."""

    kind: StepKind
    count: int
    durations: Histogram
    buckets_ns: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class LegFigures:
    """One leg of the watched threads' completions; `leg` is a name of LEGS."""

    leg: str
    histogram: Histogram


# Per completion that ended a wait of a watched thread, unless said otherwise; ns.
LEGS = (
    "hardirq",  # hardirq entry → softirq raise, kernel thread's waking or waking
    "softirq pending",  # raise → entry
    "softirq",  # entry → waking
    "completion",  # socket ready, request done or cqe posted → waking
    "irq thread",  # kernel thread's waking → waking
    "waking to wakeup",
    "run queue",  # wakeup → switch-in
    "wakeup to run",  # waking → switch-in: the two before together
    "resume",  # switch-in → return to user space; needs --syscalls
    "handler",  # own time of each device handler run on the host
)


@dataclass(frozen=True, slots=True)
class StepCoverage:
    """How much the figures cover, beside the probes' own losses.

    Completions: `matched` ended a wait and are tied to an interrupt or a task; `coalesced` came
    while the thread still ran or was woken already; `ambiguous` ended a wait on a thread whose
    open steps shared it without a binding; `unattributed` ended a wait, cause unknown.
    Steps: `ended` of which `kept` have records here; `refused` found too many steps open;
    `stray_ends` had no begin in the window; `unfinished` were open when it closed.
    `bound_missed`: sockets whose binding did not fit. `missed_switches`: the task that left a CPU
    was not the one that was seen to enter it, of `switches` on all CPUs; what the threads of such a
    switch did is 'unseen'.
    """

    probes: Coverage
    matched: int
    coalesced: int
    ambiguous: int
    unattributed: int
    ended: int
    kept: int
    refused: int
    stray_ends: int
    unfinished: int
    lost_records: int
    bound_missed: int = 0
    switches: int = 0
    missed_switches: int = 0


@dataclass(frozen=True, slots=True)
class VectorName:
    """What an IRQ number meant on the recorded host. `device` is its PCI address, if any."""

    irq: int
    device: str | None
    action: str
    cpus: str


@dataclass(frozen=True, slots=True)
class Trace:
    """One window. `median_ns` of KindFigures comes from its histogram.

    `syscalls`: system calls were hooked, so 'run' is user code only. `names` gives comm by tid for
    threads that chains mention (kernel threads, origins) as far as they were still there.
    `machine` (as uname says, 'x86_64') is what a wait's system call number belongs to.
    `hypervisor`: the CPUs are virtual or emulated; None where the kernel does not tell.
    """

    begin_ns: int
    end_ns: int
    boot_id: str | None
    kernel: str
    engine: str
    selectors: tuple[str, ...]
    online: str
    syscalls: bool
    faults: bool
    steps: tuple[Step, ...]
    kinds: tuple[KindFigures, ...]
    legs: tuple[LegFigures, ...]
    vectors: tuple[VectorName, ...]
    names: tuple[tuple[int, str], ...]
    coverage: StepCoverage
    machine: str | None = None
    hypervisor: bool | None = None
