# SPDX-License-Identifier: GPL-2.0-only
"""debugfs agent_latency/x86 against what the kernel and the hardware say elsewhere."""

from __future__ import annotations

import mmap
import os
import re
import socket
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from loading import KernelModule
from x86_file import (
    KERNEL_ADDRESS,
    X86,
    Raised,
    X86State,
    assert_withheld,
    parse,
    read_x86,
)

from vm.lab.machine import AGENT_NIC, CPUS, FLOOD_NIC, MULTIQUEUE_NIC, SOURCE_NIC, TOOL_NIC
from vm.scene import interfaces
from vm.scene.scene import TOOL_ADDRESS, networked

pytestmark = [pytest.mark.guest, pytest.mark.kmod]

IRQS = Path("/sys/kernel/irq")
KPTR_RESTRICT = Path("/proc/sys/kernel/kptr_restrict")
# Documentation/arch/x86/x86_64/mm.rst: the IDT and the entry stacks are in here.
ENTRY_AREA = range(0xFFFFFE0000000000, 0xFFFFFE8000000000)


@pytest.fixture
def state(module: KernelModule) -> X86State:
    assert module.loaded
    return read_x86()


def requested() -> dict[int, str]:
    """Interrupt → names, for each that a driver has and that an APIC delivers."""
    found = {}
    for path in IRQS.iterdir():
        actions = (path / "actions").read_text().strip()
        chip = (path / "chip_name").read_text().strip()
        if actions and re.search(r"PCI-MSI|IO-APIC|DMAR-MSI|HPET", chip):
            found[int(path.name)] = actions
    return found


def described(state: X86State) -> dict[int, tuple[str, str]]:
    """Interrupt → names and the CPU it goes to, as the module says."""
    return {raised.irq: (raised.name, str(raised.cpu)) for raised in state.raised("vector")}


def test_each_online_cpu_has_one_line_of_each(state: X86State) -> None:
    for kind in ("entry", "idtr", "stack", "apic"):
        assert list(state.of(kind)) == list(range(CPUS))
    cpus = [cpu for cpu, _, _ in state.lines]
    assert cpus == sorted(cpus)


def test_offline_cpus_are_not_asked(module: KernelModule) -> None:
    switch = Path("/sys/devices/system/cpu/cpu3/online")
    switch.write_text("0")
    try:
        left = read_x86()
    finally:
        switch.write_text("1")
    assert list(left.of("idtr")) == [0, 1, 2]
    assert {raised.cpu for raised in left.raised("vector")} <= {0, 1, 2}
    assert list(read_x86().of("idtr")) == [0, 1, 2, 3]


def test_the_idt_is_the_kernels(state: X86State) -> None:
    assert state.addresses == "shown"
    assert set(state.of("entry").values()) == {"idt"}
    for fields in state.fields("idtr").values():
        assert int(fields["base"], 16) in ENTRY_AREA
        assert fields["limit"] == "0xfff"  # 256 gates of 16 bytes


def test_every_cpu_has_its_own_stacks(state: X86State) -> None:
    stacks = state.fields("stack")
    assert all(
        list(fields) == ["rsp0", *(f"ist{n}" for n in range(1, 8))] for fields in stacks.values()
    )
    # IST_INDEX_DF, _NMI, _DB and _MCE in arch/x86/include/asm/page_64_types.h.
    names = ("rsp0", "ist1", "ist2", "ist3", "ist4")
    tops = [int(fields[name], 16) for fields in stacks.values() for name in names]
    assert all(top in ENTRY_AREA and top % 16 == 0 for top in tops)
    assert len(set(tops)) == len(tops)


def test_every_requested_interrupt_is_there_on_its_cpu(state: X86State) -> None:
    truth = {irq: (names, interfaces.effective_affinity(irq)) for irq, names in requested().items()}
    assert len(truth) > 20
    assert described(state) == truth


def test_no_vector_of_a_cpu_is_given_twice(state: X86State) -> None:
    places = [(raised.cpu, raised.vector) for raised in state.raised("vector")]
    assert places == sorted(set(places))
    assert all(0x20 <= vector < 0xEC for _, vector in places)


def msix_message(address: str, entry: int) -> tuple[int, int]:
    """Destination and vector in the device's own MSI-X table (PCI Local Bus 3.0, 6.8.2)."""
    config = (Path("/sys/bus/pci/devices") / address / "config").read_bytes()
    place = config[0x34]
    while config[place] != 0x11:
        place = config[place + 1]
    table = int.from_bytes(config[place + 4 : place + 8], "little")
    bar = Path("/sys/bus/pci/devices") / address / f"resource{table & 7}"
    with bar.open("rb") as file, mmap.mmap(file.fileno(), 4096, prot=mmap.PROT_READ) as mapped:
        words = memoryview(mapped).cast("I")
        low, data = (words[(table & ~7) // 4 + entry * 4 + word] for word in (0, 2))
        words.release()
    return low >> 12 & 0xFF, data & 0xFF


@pytest.mark.parametrize("address", [AGENT_NIC, TOOL_NIC, FLOOD_NIC, SOURCE_NIC])
def test_devices_send_what_the_file_says(
    state: X86State, guest_facts: dict[str, str], address: str
) -> None:
    if guest_facts["iommu"] == "yes":
        pytest.skip("with remapping a message holds an index, not a vector")
    apics = state.fields("apic")
    raised = {raised.irq: raised for raised in state.raised("vector")}
    irqs = sorted(interfaces.vectors(address))
    for entry, irq in enumerate(irqs):
        destination, vector = msix_message(address, entry)
        cpu = raised[irq].cpu
        assert vector == raised[irq].vector
        # Physical or flat logical destination.
        assert destination in (int(apics[cpu]["id"], 16), 1 << cpu)


def knock_until(irq: int, cpu: int) -> None:
    """Has NIC A receive answers until its interrupt arrives on `cpu`; without remapping a moved
    vector's next interrupt still goes to the old CPU."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        for port in range(9000, 9100):
            sender.sendto(b"knock", (TOOL_ADDRESS, port))
            time.sleep(0.1)
            if interfaces.effective_affinity(irq) == str(cpu):
                return
    pytest.fail(f"interrupt {irq} did not move to CPU {cpu}")


def of_irq(irq: int) -> Raised:
    return next(raised for raised in read_x86().raised("vector") if raised.irq == irq)


def test_a_moved_interrupt_moves_here_too(module: KernelModule) -> None:
    irq = next(irq for irq, name in interfaces.vectors(AGENT_NIC).items() if "input" in name)
    with networked(), interfaces.placed([AGENT_NIC], 1):
        seen = []
        for cpu in (1, 2):
            interfaces.place(irq, str(cpu))
            knock_until(irq, cpu)
            seen.append(of_irq(irq))
    assert [raised.cpu for raised in seen] == [1, 2]
    assert all("input" in (raised.name or "") for raised in seen)


def apic_base(cpu: int) -> int:
    """MSR_IA32_APICBASE."""
    subprocess.run(["modprobe", "msr"], check=True)
    descriptor = os.open(f"/dev/cpu/{cpu}/msr", os.O_RDONLY)
    try:
        return int.from_bytes(os.pread(descriptor, 8, 0x1B), "little")
    finally:
        os.close(descriptor)


def test_the_apics_are_the_hardwares(state: X86State) -> None:
    numbers = re.findall(r"^apicid\s*: (\d+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    for cpu, fields in state.fields("apic").items():
        assert fields["mode"] == ("x2apic" if apic_base(cpu) & 1 << 10 else "xapic")
        assert int(fields["id"], 16) == int(numbers[cpu])
        assert fields["enabled"] == "1"
        # setup_local_APIC(): no vector below 32 is accepted.
        assert fields["tpr"] == "0x10"


@contextmanager
def busy_cpus() -> Iterator[None]:
    """A process that computes on every CPU, so that each has its timer running."""
    loop = "import os, sys\nos.sched_setaffinity(0, {int(sys.argv[1])})\nwhile True: pass"
    spinning = [subprocess.Popen([sys.executable, "-c", loop, str(cpu)]) for cpu in range(CPUS)]
    try:
        yield
    finally:
        for process in spinning:
            process.kill()
            process.wait()


def test_pending_vectors_are_known_ones(module: KernelModule) -> None:
    pending: list[Raised] = []
    with busy_cpus():
        until = time.monotonic() + 30
        while time.monotonic() < until and len(pending) < 5:
            state = read_x86()
            known = {(each.cpu, each.vector): each for each in state.raised("vector")}
            for raised in state.raised("irr"):
                expected = known.get((raised.cpu, raised.vector))
                assert raised == expected or (raised.irq is None and raised.name is not None)
                pending.append(raised)
    assert pending, "not one timer interrupt was pending in 30 s of reading"
    assert "LOC" in {raised.name for raised in pending}


def test_it_is_roots(module: KernelModule) -> None:
    assert stat.S_IMODE(X86.stat().st_mode) == 0o400
    for path in (X86, X86.parent):
        denied = subprocess.run(
            ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "cat", path],
            capture_output=True,
            text=True,
            check=False,
        )
        assert denied.returncode != 0
        assert "Permission denied" in denied.stderr
        assert denied.stdout == ""


def test_kptr_restrict_is_obeyed(module: KernelModule) -> None:
    before = KPTR_RESTRICT.read_text()
    try:
        for value, shown in (("1", True), ("2", False), ("0", True)):
            KPTR_RESTRICT.write_text(value)
            text = X86.read_text()
            assert bool(KERNEL_ADDRESS.search(text)) == shown
            if not shown:
                assert_withheld(text, "kptr_restrict")
    finally:
        KPTR_RESTRICT.write_text(before)


def test_addresses_take_cap_syslog(module: KernelModule) -> None:
    text = subprocess.run(
        ["setpriv", "--bounding-set=-syslog", "cat", X86],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert_withheld(text, "capability")


def test_readers_do_not_disturb_each_other(module: KernelModule) -> None:
    """Two readers at once must not take each other's locks for interrupts in the making."""
    expected = described(read_x86())
    different: list[object] = []

    def read() -> None:
        for _ in range(30):
            found = described(read_x86())
            if found.keys() != expected.keys():
                different.append(found.keys() ^ expected.keys())

    readers = [threading.Thread(target=read) for _ in range(4)]
    for reader in readers:
        reader.start()
    for reader in readers:
        reader.join()
    assert not different


def test_interrupts_that_come_and_go_are_survived(module: KernelModule) -> None:
    """vmxnet3 requests and frees its vectors as its link goes up and down."""
    before = described(read_x86()).keys()
    stop = threading.Event()
    texts: list[str] = []

    def read() -> None:
        while not stop.is_set():
            texts.append(X86.read_text())

    reader = threading.Thread(target=read)
    reader.start()
    try:
        for _ in range(4):
            with interfaces.addressed(MULTIQUEUE_NIC, "10.77.2.1/24"):
                during = described(read_x86())
    finally:
        stop.set()
        reader.join()
    assert sum("rxtx" in (name or "") for name, _ in during.values()) == 4
    assert described(read_x86()).keys() == before
    assert all(parse(text).of("idtr") for text in texts)
