# SPDX-License-Identifier: GPL-2.0-only
"""Knobs: finding the target, one write, and daemons and tasks that really exist."""

from __future__ import annotations

import errno
import os
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from change_host import (
    FakeKernel,
    do_apply,
    do_revert,
    irq_of,
    renumber,
)

from agenttune.change.classify import Cause, classify
from agenttune.change.kernel import Kernel
from agenttune.change.knobs import irqbalance, vector
from agenttune.change.knobs.knob import TargetGone
from agenttune.change.knobs.registry import OPS
from agenttune.errors import ApplyError, ExitCode, HostError
from agenttune.host.capture import read_host
from agenttune.host.cpumask import CpuMask
from agenttune.host.host import Movability
from agenttune.policy.plan import Change, Knob, KnobKind, Plan


def test_every_kind_has_its_functions() -> None:
    assert set(OPS) == set(KnobKind)


# One write


def test_one_write_with_the_whole_value(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (place / "knob").write_text("a longer old value\n")
    calls: list[bytes] = []
    write = os.write

    def counted(file: int, data: bytes) -> int:
        calls.append(data)
        return write(file, data)

    monkeypatch.setattr(os, "write", counted)
    assert Kernel(place).write_once("/knob", "0-3\n") == "0-3\n"
    assert calls == [b"0-3\n"]
    assert (place / "knob").read_text() == "0-3\n"


def test_short_write_is_an_error(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (place / "knob").write_text("0\n")
    calls = []
    monkeypatch.setattr(os, "write", lambda file, data: calls.append(data) or len(data) - 1)
    with pytest.raises(OSError, match="short write") as caught:
        Kernel(place).write_once("/knob", "0-3\n")
    assert caught.value.errno == errno.EIO
    assert len(calls) == 1


def test_errno_passes_through(place: Path) -> None:
    (place / "full").symlink_to("/dev/full")
    with pytest.raises(OSError) as caught:
        Kernel(place).write_once("/full", "0\n")
    assert caught.value.errno == errno.ELOOP
    with pytest.raises(OSError) as caught:
        Kernel(Path("/dev")).write_once("/full", "0\n")
    assert caught.value.errno == errno.ENOSPC
    with pytest.raises(FileNotFoundError):
        Kernel(place).write_once("/none", "0\n")
    assert not (place / "none").exists()


# Vectors


def test_found_as_the_inventory_has_it(kernel: FakeKernel) -> None:
    vectors = read_host(kernel.root).vectors
    assert len(vectors) == 15
    for each in vectors:
        assert vector.find_irq(kernel, str(each.key)) == each.irq


def test_found_as_the_inventory_has_it_on_this_machine() -> None:
    kernel = Kernel()
    for each in read_host().vectors:
        if each.movability in {Movability.MOVABLE, Movability.MANAGED}:
            assert vector.find_irq(kernel, str(each.key)) == each.irq


def test_hint_is_checked_at_every_use(kernel: FakeKernel) -> None:
    target = "0000:01:00.0/0/eth0-TxRx-0"
    assert vector.find_irq(kernel, target) == 24
    renumber(kernel.root, {24: 25, 25: 24})
    assert vector.find_irq(kernel, target) == 25
    renumber(kernel.root, {25: None})
    with pytest.raises(TargetGone, match="no interrupt vector"):
        vector.find_irq(kernel, target)


def test_freed_vector_keeps_its_number_but_not_its_key(kernel: FakeKernel) -> None:
    """An interface that is down has its vectors, without an action."""
    rewrite(kernel, "/sys/kernel/irq/24/actions", "\n")
    with pytest.raises(TargetGone):
        vector.find_irq(kernel, "0000:01:00.0/0/eth0-TxRx-0")


def test_entry_before_per_device_domains(kernel: FakeKernel) -> None:
    """Before 6.2 hwirq is 'domain << 27 | bus/device/function << 11 | entry'."""
    rewrite(kernel, "/sys/kernel/irq/25/hwirq", f"{0x100 << 11 | 1}\n")
    assert vector.find_irq(kernel, "0000:01:00.0/1/eth0-TxRx-1") == 25


def test_interrupt_without_a_pci_device(kernel: FakeKernel) -> None:
    folder = kernel.root / "sys/kernel/irq/9"
    folder.mkdir()
    for name, text in (("actions", "acpi"), ("chip_name", "IO-APIC"), ("hwirq", "9")):
        (folder / name).write_text(text + "\n")
    assert vector.find_irq(kernel, "IO-APIC/9/acpi") == 9
    with pytest.raises(TargetGone):
        vector.find_irq(kernel, "IO-APIC/8/acpi")
    with pytest.raises(TargetGone):
        vector.find_irq(kernel, "XT-PIC/9/acpi")


def test_action_may_hold_slashes(kernel: FakeKernel) -> None:
    rewrite(kernel, "/sys/kernel/irq/24/actions", "eth0/rx,other\n")
    assert vector.find_irq(kernel, "0000:01:00.0/0/eth0/rx,other") == 24


def rewrite(kernel: FakeKernel, path: str, text: str) -> None:
    file = Path(kernel.tree.path(path))
    file.chmod(0o644)
    file.write_text(text)


@pytest.mark.parametrize(
    ("target", "code", "cause"),
    [
        ("0000:00:03.0/1/x", errno.EIO, Cause.MANAGED),
        ("0000:00:03.0/1/x", errno.EPERM, Cause.MANAGED),
        ("IO-APIC/0/timer", errno.EIO, Cause.PER_CPU),
        ("0000:00:03.0/1/x", errno.ENOSPC, Cause.VECTORS_EXHAUSTED),
        ("0000:00:03.0/1/x", 0, Cause.FAILED),
    ],
)
def test_classification(target: str, code: int, cause: Cause) -> None:
    refusal = classify(Knob(KnobKind.VECTOR_AFFINITY, target), OSError(code, "text"))
    assert refusal.cause is cause
    assert refusal.what
    assert refusal.remedy.endswith(".")


# irqbalance's socket


@contextmanager
def fake_irqbalance(path: Path, limit: int) -> Iterator[list[str]]:
    """What irqbalance 1.9.2 does with a connection; it reads at most `limit` bytes of a command."""
    banned = [90, 91]
    commands: list[str] = []
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
    path.unlink(missing_ok=True)
    listener.bind(str(path))
    listener.listen(1)

    def serve() -> None:
        while True:
            try:
                stream, _ = listener.accept()
            except OSError:
                return
            with stream:
                text, ancillary, _, _ = stream.recvmsg(limit, socket.CMSG_SPACE(12))
                ((level, kind, data),) = ancillary
                assert (level, kind) == (socket.SOL_SOCKET, socket.SCM_CREDENTIALS)
                assert struct.unpack("3i", data)[0] == os.getpid()
                commands.append(text.decode())
                if text == b"setup":
                    listing = "".join(f"IRQ {n} LOAD 0 DIFF 0 CLASS 0 " for n in banned)
                    stream.sendall(f"SLEEP 10 {listing}BANNED 00000000".encode())
                else:
                    words = text.decode().removeprefix("settings ban irqs ").split()
                    banned[:] = [] if words == ["NONE"] else [int(word) for word in words]

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield commands
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join()


class SocketKernel(FakeKernel):
    """Asks a socket that is really there."""

    ask = Kernel.ask


def test_irqbalance_is_told_and_told_back(kernel: FakeKernel) -> None:
    asking = SocketKernel(kernel.root)
    place = irqbalance.daemon(asking)
    socket_file = kernel.root / "run/irqbalance/irqbalance700.sock"
    with fake_irqbalance(socket_file, 500) as commands:
        assert irqbalance.OPS.read(asking, place) == "90,91"
        irqbalance.OPS.write(asking, place, "24,90,91")
        assert irqbalance.OPS.read(asking, place) == "24,90,91"
        irqbalance.OPS.write(asking, place, "")
        assert irqbalance.OPS.read(asking, place) == ""
    told = [command for command in commands if command != "setup"]
    assert told[0] == "settings ban irqs 24 90 91"
    assert told[1] == "settings ban irqs NONE"


def test_list_too_long_for_irqbalance_is_undone(kernel: FakeKernel, place: Path) -> None:
    """irqbalance 1.9.2 cuts a command at 500 bytes: what it shows is not what it was told."""
    asking = SocketKernel(kernel.root)
    changes = (
        Change(Knob(KnobKind.IRQBALANCE_BANS, ""), "", "", "bans", "a test"),
        *(
            Change(Knob(KnobKind.VECTOR_AFFINITY, str(v.key)), "0-7", "1", str(v.key), "a test")
            for v in read_host(kernel.root).vectors[:6]
        ),
    )
    plan = Plan("test", None, CpuMask(), CpuMask(), CpuMask(), changes)
    with fake_irqbalance(kernel.root / "run/irqbalance/irqbalance700.sock", 30) as commands:
        with pytest.raises(HostError, match="did not take a list of 8"):
            do_apply(asking, plan, place / "state")
        assert irqbalance.OPS.read(asking, irqbalance.daemon(asking)) == "90,91"
    assert "settings ban irqs 90 91" in commands


def test_stopped_irqbalance_socket_is_an_error(kernel: FakeKernel, place: Path) -> None:
    """The socket's file is there, but nobody listens."""
    asking = SocketKernel(kernel.root)
    change = Change(Knob(KnobKind.IRQBALANCE_BANS, ""), "", "1", "bans", "a test")
    plan = Plan("test", None, CpuMask(), CpuMask(), CpuMask(), (change,))
    with pytest.raises(ApplyError, match="Connection refused"):
        do_apply(asking, plan, place / "state")


# Tasks of this machine

WORKER = """
import os, sys, threading, time
print(os.getpid(), flush=True)
for line in sys.stdin:
    if line == "thread\\n":
        thread = threading.Thread(target=time.sleep, args=(60,), daemon=True)
        thread.start()
        print(thread.native_id, flush=True)
    else:
        child = os.fork()
        if child == 0:
            time.sleep(60)
            os._exit(0)
        print(child, flush=True)
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="the live host may be changed by root alone")
@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="needs two CPUs to tell masks apart")
def test_real_task_with_its_heirs(place: Path) -> None:
    """A child of this test is pinned; a thread and a process that it starts then inherit that."""
    before = os.sched_getaffinity(0)
    with subprocess.Popen(
        [sys.executable, "-c", WORKER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as worker:
        assert worker.stdin is not None and worker.stdout is not None
        children = []
        try:
            pid = int(worker.stdout.readline())
            kernel, state = Kernel(), place / "state"
            ticks = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
            knob = Knob(KnobKind.TASK_AFFINITY, f"{pid}@{ticks}")
            change = Change(knob, str(CpuMask.of(before)), str(max(before)), "worker", "a test")
            do_apply(kernel, Plan("test", None, CpuMask(), CpuMask(), CpuMask(), (change,)), state)
            assert os.sched_getaffinity(pid) == {max(before)}
            for what in ("thread", "process"):
                worker.stdin.write(what + "\n")
                worker.stdin.flush()
                children.append(int(worker.stdout.readline()))
            assert [os.sched_getaffinity(child) for child in children] == [{max(before)}] * 2
            done = do_revert(kernel, state)
            assert done.exit_code is ExitCode.OK
            assert done.heirs == 2
            assert [os.sched_getaffinity(task) for task in (pid, *children)] == [before] * 3
        finally:
            for child in children[1:]:
                os.kill(child, 9)
            worker.kill()


def test_irq_of_sees_what_it_should(kernel: FakeKernel) -> None:
    assert irq_of(kernel.root, "0000:02:00.0/1/eth1-TxRx-1") == 28
