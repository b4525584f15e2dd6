# SPDX-License-Identifier: GPL-2.0-only
"""A fake host to change: a generated tree that answers writes as the kernel does."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from trees import hex_mask, make_tree

from agenttune.change.apply import Applied, apply
from agenttune.change.journal import open_journal
from agenttune.change.kernel import Kernel
from agenttune.change.revert import Reverted, revert
from agenttune.host.capture import read_host
from agenttune.host.cpumask import CpuMask
from agenttune.policy.plan import Change, Knob, KnobKind, Plan

CPUS = 8
AGENT, THREAD, IRQBALANCE = 1000, 900, 700
AGENT_TARGET = f"{AGENT}@5000"
SOCKET = f"/run/irqbalance/irqbalance{IRQBALANCE}.sock"
PF_KTHREAD = 0x00200000
# The thread of this vector is planned; the vector itself is not.
THREADED = "0000:02:00.0/1/eth1-TxRx-1"
PINNED = ("0000:01:00.0/0/eth0-TxRx-0", "0000:01:00.0/1/eth0-TxRx-1", "0000:02:00.0/0/eth1-TxRx-0")
MANAGED = "0001:01:00.0/1/nvme0q1"


class FakeKernel(Kernel):
    """Spells values as the kernel does; a write is one rename, so a kill cannot cut it in two.

    `faults` maps a path, or a pid, to the errno that a write to it gives.
    """

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.faults: dict[str | int, int] = {}
        self.written: list[str] = []
        self.time_ns = 60 * 10**9

    def now_ns(self) -> int:
        return self.time_ns

    def read(self, path: str) -> str:
        """As on a live host, a thread has a folder of its own that no listing shows."""
        try:
            return super().read(path)
        except FileNotFoundError:
            _, proc, pid, *rest = path.split("/")
            if proc != "proc" or not pid.isdecimal():
                raise
            return super().read(f"/proc/{self._folder(int(pid))}/{'/'.join(rest)}")

    def write_once(self, path: str, text: str) -> str:
        self._fail(path)
        old = self.read(path)
        if path.endswith("_list"):
            text = f"{CpuMask.parse_list(text)}\n"
        elif "affinity" in path or path.endswith("_cpus"):
            text = hex_mask(CpuMask.parse_hex(text), CPUS) + "\n"
        mode = Path(self.tree.path(path)).stat().st_mode
        self.written.append(path)
        self._replace(path, text, mode)
        folder = path.rpartition("/")[0]
        if path.endswith("smp_affinity_list") and text != old:
            effective = CpuMask.parse_list(self.read(f"{folder}/effective_affinity_list"))
            if not effective <= CpuMask.parse_list(text):
                first = CpuMask.parse_list(text).first()
                self._replace(f"{folder}/effective_affinity_list", f"{first}\n", 0o444)
        return text

    def task_affinity(self, pid: int) -> CpuMask:
        try:
            status = self.read(f"/proc/{pid}/status")
        except FileNotFoundError:
            raise ProcessLookupError(errno.ESRCH, "no such task") from None
        return CpuMask.parse_list(status.rpartition("Cpus_allowed_list:")[2])

    def set_task_affinity(self, pid: int, mask: CpuMask) -> None:
        self._fail(pid)
        path = f"/proc/{self._folder(pid)}/status"
        head = self.read(path).rpartition("Cpus_allowed_list:")[0]
        self.written.append(path)
        self._replace(path, f"{head}Cpus_allowed_list:\t{mask}\n", 0o644)

    def ask(self, socket_path: str, command: str) -> str:
        """irqbalance, with its bans kept in the socket's place."""
        if command == "setup":
            irqs = "".join(
                f"IRQ {n} LOAD 0 DIFF 0 CLASS 0 " for n in self.read(socket_path).split()
            )
            return f"SLEEP 10 {irqs}BANNED 00000000"
        self._fail(socket_path)
        words = command.removeprefix("settings ban irqs ")
        self.written.append(socket_path)
        self._replace(socket_path, "" if words == "NONE" else words, 0o644)
        return ""

    def _folder(self, pid: int) -> str:
        for tgid in self.tree.numbers("/proc"):
            if self.tree.exists(f"/proc/{tgid}/task/{pid}"):
                return f"{tgid}/task/{pid}"
        return str(pid)

    def _fail(self, where: str | int) -> None:
        code = self.faults.get(where)
        if code is not None:
            raise OSError(code, os.strerror(code), str(where))

    def _replace(self, path: str, text: str, mode: int) -> None:
        scratch = self.root.with_name(self.root.name + ".scratch")
        scratch.write_text(text)
        scratch.chmod(mode & 0o777)
        scratch.rename(self.tree.path(path))


@contextmanager
def fast_directory() -> Iterator[Path]:
    """A directory in memory where there is one: these tests sync thousands of times."""
    memory = Path("/dev/shm")
    with TemporaryDirectory(dir=memory if os.access(memory, os.W_OK) else None) as directory:
        yield Path(directory)


def make_host(root: Path) -> FakeKernel:
    """A host of 8 CPUs with every kind of knob on it; the agent is process 1000, at 0-7."""
    make_tree(root, cpus=CPUS, nics=2, queues=2)
    add_task(root, AGENT, AGENT, comm="agent", start=5000, parent=1)
    irq = irq_of(root, THREADED)
    add_task(root, THREAD, THREAD, comm=f"irq/{irq}-eth1-Tx", start=200, flags=PF_KTHREAD)
    add_task(root, IRQBALANCE, IRQBALANCE, comm="irqbalance", start=300)
    socket = root / SOCKET[1:]
    socket.parent.mkdir(parents=True)
    socket.write_text("90 91")
    rps = root / "sys/class/net/eth0/queues/rx-0/rps_cpus"
    rps.write_text(hex_mask(CpuMask.of([4, 5]), CPUS) + "\n")
    return FakeKernel(root)


def add_task(
    root: Path,
    pid: int,
    tgid: int,
    *,
    comm: str = "agent",
    start: int,
    parent: int = 2,
    flags: int = 0,
    mask: str = "0-7",
) -> None:
    """One thread of process `tgid`, the process itself when the two are equal."""
    stat = f"{pid} ({comm}) S {parent} 0 0 0 0 {flags} " + " ".join(
        str(start) if field == 21 else "0" for field in range(9, 52)
    )
    status = f"Name:\t{comm}\nTgid:\t{tgid}\nPid:\t{pid}\nCpus_allowed_list:\t{mask}\n"
    folder = root / f"proc/{tgid}" if pid == tgid else root / f"proc/{tgid}/task/{pid}"
    folder.mkdir(parents=True)
    (folder / "comm").write_text(comm + "\n")
    (folder / "stat").write_text(stat + "\n")
    (folder / "status").write_text(status)
    if pid == tgid:
        (folder / "task").mkdir()
        (folder / f"task/{pid}").symlink_to(f"../../{pid}")


def irq_of(root: Path, target: str) -> int:
    """The IRQ number of a vector by the inventory, which shares no code with what is tested."""
    return next(v.irq for v in read_host(root).vectors if str(v.key) == target)


def affinity_file(root: Path, target: str) -> str:
    return f"/proc/irq/{irq_of(root, target)}/smp_affinity_list"


def renumber(root: Path, numbers: Mapping[int, int | None]) -> None:
    """Give vectors other IRQ numbers, as binding a driver again does; None takes one away."""
    owners = {irq: next(root.glob(f"sys/devices/*/*/msi_irqs/{irq}")) for irq in numbers}
    folders = ("proc/irq", "sys/kernel/irq")
    for irq in numbers:
        owners[irq].rename(root / f"msi.{irq}")
        for folder in folders:
            (root / folder / str(irq)).rename(root / folder / f"old.{irq}")
    for irq, number in numbers.items():
        if number is None:
            (root / f"msi.{irq}").unlink()
        else:
            (root / f"msi.{irq}").rename(owners[irq].with_name(str(number)))
        for folder in folders:
            old = root / folder / f"old.{irq}"
            if number is None:
                shutil.rmtree(old)
            else:
                old.rename(root / folder / str(number))
    (root / "proc/interrupts").unlink(missing_ok=True)


def make_plan(root: Path) -> Plan:
    """One change of every kind, vectors of two devices among them."""
    return Plan(
        profile="test",
        boot_id=None,
        agent_cpus=CpuMask.of([6]),
        avoided_cpus=CpuMask.of([6]),
        housekeeping_cpus=CpuMask.of([0, 1]),
        changes=(
            _change(KnobKind.IRQBALANCE_BANS, "", "", "30"),
            _change(KnobKind.SYSCTL, "net.core.netdev_budget", "300", "600"),
            _change(KnobKind.DEFAULT_AFFINITY, "", "0-7", "0-1"),
            *(_change(KnobKind.VECTOR_AFFINITY, target, "0-7", "1") for target in PINNED),
            _change(KnobKind.IRQ_THREAD_AFFINITY, THREADED, "0-7", "0-1"),
            _change(KnobKind.RPS_CPUS, "eth0/rx-0", "4-5", "4"),
            _change(KnobKind.XPS_CPUS, "eth0/tx-1", "1,3,5,7", "1"),
            _change(KnobKind.TASK_AFFINITY, AGENT_TARGET, "0-7", "6"),
        ),
    )


def _change(kind: KnobKind, target: str, before: str, wanted: str) -> Change:
    label = f"{kind} {target}".rstrip()
    return Change(Knob(kind, target), before, wanted, label, "a test", ("seen",))


def plan_of(plan: Plan, *kinds: KnobKind) -> Plan:
    """The plan with the changes of these kinds alone."""
    return replace(plan, changes=tuple(c for c in plan.changes if c.knob.kind in kinds))


def contents(root: Path) -> dict[str, bytes]:
    """Every file, but for what the hardware chooses by itself."""
    found = {}
    for folder, _, names in os.walk(root):
        for name in names:
            path = f"{folder}/{name}"
            if "effective" not in name and not Path(path).is_symlink():
                found[path.removeprefix(f"{root}/")] = Path(path).read_bytes()
    return found


def do_apply(kernel: Kernel, plan: Plan, state: Path) -> Applied:
    with open_journal(state) as journal:
        return apply(plan, kernel, journal)


def do_revert(kernel: Kernel, state: Path) -> Reverted:
    with open_journal(state) as journal:
        return revert(kernel, journal)
