# SPDX-License-Identifier: GPL-2.0-only
"""The guest's hardware as QEMU arguments."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

CPUS = 4
MEMORY = "2G"

# Fixed places on the guest's PCI bus, so that tests can name devices; vm/README.md prints this.
AGENT_NIC = "0000:00:03.0"
TOOL_NIC = "0000:00:04.0"
FLOOD_NIC = "0000:00:05.0"
SOURCE_NIC = "0000:00:06.0"
MULTIQUEUE_NIC = "0000:00:07.0"
MULTIQUEUE_PEER = "0000:00:08.0"
NVME_DISK = "0000:00:09.0"
VIRTIO_DISK = "0000:00:0a.0"
_ROOT_SHARE = "0000:00:10.0"
_OUT_SHARE = "0000:00:11.0"
_SERIAL = "0000:00:12.0"

# (address, QEMU device, hub): the NICs of one hub see each other and nothing else.
_NICS = (
    (AGENT_NIC, "virtio-net-pci", 0),
    (TOOL_NIC, "virtio-net-pci", 0),
    (FLOOD_NIC, "virtio-net-pci", 1),
    (SOURCE_NIC, "virtio-net-pci", 1),
    (MULTIQUEUE_NIC, "vmxnet3", 2),
    (MULTIQUEUE_PEER, "vmxnet3", 2),
)
# Ports of the serial device, in order: /dev/vport*p1 and on (vm/guest/session uses the numbers).
PORTS = ("status", "output", "errors")
# Below the guest's directory on the host: the files vm/guest/init takes in.
TOLD = "told"


@dataclass(frozen=True)
class Machine:
    """One guest to start. `ports` are inherited socket descriptors in the order of `PORTS`."""

    qemu: Path
    kernel: Path
    initramfs: Path
    job: Path
    accelerator: str
    ports: tuple[int, ...]
    iommu: bool = False
    out: Path | None = None


def arguments(machine: Machine) -> list[str]:
    """The QEMU command line for `machine`."""
    return [
        str(machine.qemu),
        *_board(machine),
        *_boot(machine),
        *(_iommu() if machine.iommu else []),
        *_networks(),
        *_disk("nvme", NVME_DISK, machine.job / "nvme.img", ",serial=agenttune"),
        *_disk("virtio-blk-pci", VIRTIO_DISK, machine.job / "virtio.img", f",num-queues={CPUS}"),
        *_share("root", _ROOT_SHARE, Path("/"), writable=False),
        *(_share("out", _OUT_SHARE, machine.out, writable=True) if machine.out else []),
        *_serial_ports(machine.ports),
    ]


def probe_arguments(machine: Machine) -> list[str]:
    """The smallest guest that shows whether `machine.accelerator` can run one."""
    return [str(machine.qemu), *_board(machine), *_boot(machine, "lab.probe")]


def accelerator_arguments(accelerator: str) -> list[str]:
    """`accelerator` is kvm, or TCG's multi, single or icount: so many threads, or its clock."""
    if accelerator == "kvm":
        return ["-accel", "kvm", "-cpu", "host"]
    # Nested virtualisation and 57-bit tables are slow to emulate and not looked at here.
    cpu = ["-cpu", "max,-svm,-vmx,-la57"]
    if accelerator == "icount":
        # 2^0 ns an instruction; when no CPU runs, time goes on to the next timer at once.
        return ["-accel", "tcg,thread=single", "-icount", "shift=0,sleep=off", *cpu]
    return ["-accel", f"tcg,thread={accelerator}", *cpu]


def _board(machine: Machine) -> list[str]:
    # Interrupt remapping needs the I/O APIC outside KVM; TCG has no in-kernel irqchip at all.
    split = ",kernel-irqchip=split" if machine.iommu and machine.accelerator == "kvm" else ""
    return [
        *accelerator_arguments(machine.accelerator),
        *("-machine", f"q35,hpet=off,vmport=off{split}"),
        *("-smp", f"{CPUS},sockets=1,cores={CPUS},threads=1", "-m", MEMORY),
        *("-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"),
        *("-serial", f"file:{machine.job / 'console'}"),
    ]


def _boot(machine: Machine, *words: str) -> list[str]:
    line = [
        # 5: warnings and worse reach the console; an oops ends the guest there and then.
        *("console=ttyS0", "loglevel=5", "panic=-1", "oops=panic"),
        # Under TCG every vCPU reads one clock, yet the watchdog would call the TSC unstable.
        *("tsc=reliable", "mitigations=off", "audit=0", "apparmor=0"),
        # vm/guest/init brings up the other CPUs, when it is safe; noreplace-smp: without patching
        # the lock prefixes of the whole kernel out and in again (alternatives_enable_smp).
        *("maxcpus=1", "noreplace-smp"),
        f"lab.job={machine.job / TOLD}",
        *words,
    ]
    return [
        *("-kernel", str(machine.kernel), "-initrd", str(machine.initramfs)),
        *("-append", " ".join(line)),
    ]


def _iommu() -> list[str]:
    return ["-device", "intel-iommu,intremap=on"]


def _networks() -> list[str]:
    built = []
    for index, (address, device, hub) in enumerate(_NICS):
        built += ["-netdev", f"hubport,id=net{index},hubid={hub}"]
        mac = f"52:54:00:a9:{hub:02x}:{index:02x}"
        built += ["-device", f"{device},netdev=net{index},mac={mac},romfile={_at(address)}"]
    return built


def _disk(device: str, address: str, image: Path, extra: str) -> list[str]:
    name = image.stem
    return [
        *("-drive", f"if=none,id={name},format=raw,file={_escape(image)},cache=unsafe"),
        *("-device", f"{device},drive={name}{extra}{_at(address)}"),
    ]


def _share(tag: str, address: str, path: Path, *, writable: bool) -> list[str]:
    mode = "" if writable else ",readonly=on"
    where = f"local,id={tag},path={_escape(path)},security_model=none,multidevs=remap{mode}"
    return [
        *("-fsdev", where),
        *("-device", f"virtio-9p-pci,fsdev={tag},mount_tag={tag}{_at(address)}"),
    ]


def _serial_ports(descriptors: tuple[int, ...]) -> list[str]:
    built = ["-device", f"virtio-serial-pci,id=serial{_at(_SERIAL)}"]
    for number, (name, descriptor) in enumerate(zip(PORTS, descriptors, strict=True), start=1):
        built += ["-chardev", f"socket,id={name},fd={descriptor}"]
        port = f"virtserialport,bus=serial.0,nr={number},chardev={name},name={name}"
        built += ["-device", port]
    return built


def _at(address: str) -> str:
    return f",bus=pcie.0,addr={address.split(':')[2]}"


def _escape(path: Path) -> str:
    """`path` inside a QEMU option, where a comma ends the value unless doubled."""
    return str(path).replace(",", ",,")
