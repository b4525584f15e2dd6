# SPDX-License-Identifier: GPL-2.0-only
"""Host: the frozen snapshot of one machine that policy and plan take.

None means 'unknown: this kernel or recording does not tell', never 'no'.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from agenttune.host.cpumask import CpuMask


@dataclass(frozen=True, slots=True)
class Cpu:
    """One present CPU. `siblings` (SMT threads) and `l3` (cache mates) include the CPU itself."""

    cpu: int
    online: bool
    core: int | None = None
    package: int | None = None
    node: int | None = None
    siblings: CpuMask | None = None
    l3: CpuMask | None = None
    core_type: str | None = None


@dataclass(frozen=True, slots=True)
class CpusetPartition:
    """A cgroup v2 cpuset and its effective CPUs.

    `state` is the kernel's text: 'member' for one that is no partition root, 'root', 'isolated',
    'isolated invalid (reason)'.
    """

    cgroup: str
    state: str
    cpus: CpuMask


@dataclass(frozen=True, slots=True)
class Topology:
    """The CPUs and the masks the kernel was booted or configured with."""

    cpus: tuple[Cpu, ...]
    online: CpuMask
    possible: CpuMask | None = None
    isolated: CpuMask | None = None
    nohz_full: CpuMask | None = None
    partitions: tuple[CpusetPartition, ...] | None = None


@dataclass(frozen=True, slots=True)
class VectorKey:
    """What an interrupt vector is, across reboots and renumbering; the IRQ number is never the key.

    `device` is the PCI address (or the chip's name when there is no PCI device), `entry` the
    MSI-X table entry (or hwirq), `action` the driver's action name(s), comma-separated.
    """

    device: str
    entry: int
    action: str

    def __str__(self) -> str:
        return f"{self.device}/{self.entry}/{self.action}"


class Movability(StrEnum):
    """Whether user space may set a vector's affinity, and if not, why."""

    MOVABLE = "movable"
    MANAGED = "managed"
    PER_CPU = "per-cpu"
    NO_AFFINITY_FILE = "no-affinity-file"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class IrqThread:
    """A threaded handler, 'irq/45-name'."""

    pid: int
    comm: str
    affinity: CpuMask


@dataclass(frozen=True, slots=True)
class Vector:
    """One device interrupt. `counts` holds only CPUs with a non-zero count (/proc/interrupts).

    `driver` is the device's own (virtio_net, not virtio-pci); `block` joins the disks of one
    controller by commas. `queue` and `direction` ('rx', 'tx', 'rxtx') are as the action name says;
    an NVMe I/O queue q is blk-mq queue q - 1. `idt_vector` is the x86 vector on CPU `idt_cpu`.
    """

    irq: int
    key: VectorKey
    movability: Movability
    chip: str = ""
    driver: str | None = None
    interface: str | None = None
    block: str | None = None
    queue: int | None = None
    direction: str | None = None
    node: int | None = None
    affinity: CpuMask | None = None
    effective: CpuMask | None = None
    counts: Mapping[int, int] | None = None
    threads: tuple[IrqThread, ...] = ()
    idt_vector: int | None = None
    idt_cpu: int | None = None


@dataclass(frozen=True, slots=True)
class ArchInterrupt:
    """A row of /proc/interrupts without a number: LOC, RES, CAL, TLB and their like."""

    name: str
    description: str
    counts: Mapping[int, int]


@dataclass(frozen=True, slots=True)
class NetQueue:
    """One rx or tx queue. `steering` is rps_cpus (rx) or xps_cpus (tx); None where unsupported.

    `napi_id` is the NAPI instance that serves it, where the driver tells.
    """

    direction: str
    index: int
    steering: CpuMask | None
    napi_id: int | None = None


@dataclass(frozen=True, slots=True)
class Napi:
    """One NAPI instance (netdev netlink, 6.7 and later); `irq` and `pid` where the driver tells."""

    napi_id: int
    irq: int | None = None
    pid: int | None = None
    defer_hard_irqs: int | None = None
    gro_flush_timeout_ns: int | None = None


@dataclass(frozen=True, slots=True)
class NetInterface:
    """A network interface; `device` is its PCI address, None for a virtual one."""

    name: str
    ifindex: int | None
    device: str | None
    driver: str | None
    queues: tuple[NetQueue, ...]
    napis: tuple[Napi, ...] | None = None
    threaded: bool | None = None


@dataclass(frozen=True, slots=True)
class BlockQueue:
    """One blk-mq hardware queue and the CPUs that submit to it."""

    index: int
    cpus: CpuMask | None


@dataclass(frozen=True, slots=True)
class BlockDevice:
    """A disk; `device` is its PCI address where it has one."""

    name: str
    device: str | None
    queues: tuple[BlockQueue, ...] | None


@dataclass(frozen=True, slots=True)
class SoftnetRow:
    """One row of /proc/net/softnet_stat; `cpu` is a guess from order before the 13-column form."""

    cpu: int
    processed: int
    dropped: int
    time_squeeze: int
    received_rps: int | None = None
    flow_limit: int | None = None
    backlog: int | None = None


@dataclass(frozen=True, slots=True)
class Writer:
    """Someone else who writes these knobs: irqbalance, tuned, a systemd .link file.

    `active` None: installed, state unknown. `writes` are KnobKind values it may write.
    """

    name: str
    active: bool | None
    detail: str
    writes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Task:
    """One thread of an agent. (pid, start_ticks) names it uniquely within a boot.

    `start_ticks` is field 22 of /proc/PID/stat, in clock ticks since boot; `tgid` its process.
    """

    pid: int
    tgid: int
    start_ticks: int
    comm: str
    affinity: CpuMask
    last_cpu: int | None = None
    cgroup: str | None = None


@dataclass(frozen=True, slots=True)
class NapiThread:
    """The kernel thread that polls one NAPI instance, 'napi/eth0-8193'."""

    pid: int
    start_ticks: int
    comm: str
    interface: str
    napi_id: int
    affinity: CpuMask


@dataclass(frozen=True, slots=True)
class KernelModule:
    """The kernel module agent_latency. `loaded` is the version that runs, None when none does.

    `settings` are its sysctls by name. `file` is what can be loaded, None when it is loaded or
    cannot be; then `obstacle` says why not, and `remedy` what would help.
    """

    loaded: str | None = None
    settings: Mapping[str, str] | None = None
    file: str | None = None
    obstacle: str = ""
    remedy: str = ""


@dataclass(frozen=True, slots=True)
class X86Vector:
    """A vector that a device's interrupt raises on a CPU, and the names its drivers gave."""

    vector: int
    irq: int
    names: str


@dataclass(frozen=True, slots=True)
class X86Cpu:
    """One CPU at one moment. `fields` has the words of its lines 'idtr', 'stack' and 'apic';
    `irr` and `isr` the pending and in-service vectors with what they are for, as printed."""

    cpu: int
    entry: str
    fields: Mapping[str, Mapping[str, str]]
    vectors: tuple[X86Vector, ...] = ()
    irr: tuple[str, ...] = ()
    isr: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class X86State:
    """`withheld` says why the kernel's addresses are left out; empty when they are shown."""

    withheld: str
    cpus: tuple[X86Cpu, ...]


@dataclass(frozen=True, slots=True)
class Host:
    """One machine at one time. `unknown` lists what could not be read and why, for the user.

    `x86` is read only where it is asked for: that interrupts every CPU.
    """

    root: str
    live: bool
    kernel: str | None
    boot_id: str | None
    topology: Topology
    vectors: tuple[Vector, ...]
    arch_interrupts: tuple[ArchInterrupt, ...] = ()
    default_affinity: CpuMask | None = None
    interfaces: tuple[NetInterface, ...] = ()
    blocks: tuple[BlockDevice, ...] = ()
    softirqs: Mapping[str, Mapping[int, int]] | None = None
    softnet: tuple[SoftnetRow, ...] | None = None
    sysctls: Mapping[str, int] | None = None
    writers: tuple[Writer, ...] = ()
    agents: tuple[Task, ...] = ()
    napi_threads: tuple[NapiThread, ...] = ()
    module: KernelModule | None = None
    x86: X86State | None = None
    unknown: tuple[str, ...] = ()
