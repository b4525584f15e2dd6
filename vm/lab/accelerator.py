# SPDX-License-Identifier: GPL-2.0-only
"""KVM where a guest really runs under it, else TCG."""

from __future__ import annotations

import subprocess
from pathlib import Path

from vm.lab.cache import Cache, qemu_version
from vm.lab.machine import Machine, probe_arguments
from vm.lab.options import Options
from vm.lab.process import running

PROBE_SECONDS = 5.0
PROBE_SENTINEL = "lab: this accelerator runs a guest"
# Before 8.2, multi-threaded TCG guests die when they patch their own text.
MULTI_SINCE = (8, 2)
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


def choose(options: Options, cache: Cache) -> str:
    """kvm, multi, single or icount for this request; call under the cache's lock."""
    if options.threads is not None:
        return options.threads
    if kvm_works(options, cache):
        return "kvm"
    return "multi" if qemu_version(cache) >= MULTI_SINCE else "single"


def kvm_works(options: Options, cache: Cache) -> bool:
    """Whether a tiny guest says its sentinel under KVM; asked once per boot of this machine.

    /dev/kvm may exist, and even make a VM, on machines where no guest gets anywhere.
    """
    if not Path("/dev/kvm").exists():
        return False
    known = cache.root / "kvm"
    key = _BOOT_ID.read_text().strip()
    remembered = known.read_text().split() if known.exists() else []
    if remembered[:1] != [key]:
        remembered = [key, "works" if _probe(options, cache) else "fails"]
        known.write_text(" ".join(remembered) + "\n")
    return remembered[1] == "works"


def _probe(options: Options, cache: Cache) -> bool:
    directory = cache.root / "probe"
    directory.mkdir(exist_ok=True)
    console = directory / "console"
    console.write_text("")
    machine = Machine(
        qemu=cache.qemu,
        kernel=cache.image(options.kernel),
        initramfs=cache.initramfs(options.kernel),
        job=directory,
        accelerator="kvm",
        ports=(),
    )
    with running(probe_arguments(machine), directory / "qemu.log") as process:
        try:
            process.wait(PROBE_SECONDS)
        except subprocess.TimeoutExpired:
            return False
    return PROBE_SENTINEL in console.read_text(errors="replace")
