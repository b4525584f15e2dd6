# SPDX-License-Identifier: GPL-2.0-only
"""What vm/run was asked for."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

from vm.lab.kernels import DEBUG, GUESTS

EPILOG = """\
exit status:
  the command's own (128 + n when signal n killed it), except
  124  the command reached its time limit
  125  the lab broke: no boot, a kernel panic, a missing set-up. The last line on
       stderr then starts with 'vm/run: ' and says which.
"""


BOOT_SECONDS = 90.0
# With every allocation and lock checked, a boot takes some times as long.
DEBUG_BOOT_SECONDS = 400.0


@dataclass(frozen=True)
class Options:
    """One request. `seconds` limits the command, `boot_seconds` each boot up to its sentinel."""

    command: tuple[str, ...]
    kernel: str = "6.12"
    iommu: bool = False
    threads: str | None = None
    seconds: float = 1200.0
    boot_seconds: float = BOOT_SECONDS
    boots: int = 3
    out: Path | None = None
    console: Path | None = None


def parse(argv: list[str]) -> Options:
    """The request in `argv`; ends the process with status 2 and a message when it is wrong."""
    parser = argparse.ArgumentParser(
        prog="vm/run",
        description="Runs COMMAND, with the checkout as working directory, in a guest.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        usage="%(prog)s [option]... -- COMMAND...",
    )
    parser.add_argument("--kernel", choices=GUESTS, default=Options.kernel)
    parser.add_argument(
        "--iommu", action="store_true", help="add an Intel IOMMU that remaps interrupts"
    )
    threads = parser.add_mutually_exclusive_group()
    threads.add_argument(
        "--single",
        dest="threads",
        action="store_const",
        const="single",
        help="all vCPUs on one thread: for commands that patch kernel text a lot",
    )
    threads.add_argument(
        "--multi",
        dest="threads",
        action="store_const",
        const="multi",
        help="one thread per vCPU (the default where QEMU is 8.2 or later)",
    )
    threads.add_argument(
        "--icount",
        dest="threads",
        action="store_const",
        const="icount",
        help="as --single, with a clock that counts instructions, 1 ns each: for costs",
    )
    parser.add_argument("--seconds", type=_positive, default=Options.seconds, metavar="N")
    parser.add_argument(
        "--boot-seconds", type=_positive, metavar="N", help="default: 90; 400 for 6.12-debug"
    )
    parser.add_argument(
        "--boots", type=int, choices=(1, 2, 3), default=Options.boots, help="fresh tries included"
    )
    parser.add_argument(
        "--out", type=Path, metavar="DIR", help="existing directory the guest can write to"
    )
    parser.add_argument(
        "--console", type=Path, metavar="FILE", help="where to keep the kernel's messages"
    )
    parser.add_argument("command", nargs="+", metavar="COMMAND")
    values = vars(parser.parse_args(argv))
    if values["boot_seconds"] is None:
        debug = values["kernel"] == DEBUG
        values["boot_seconds"] = DEBUG_BOOT_SECONDS if debug else BOOT_SECONDS
    if values["out"] is not None and not values["out"].is_dir():
        parser.error(f"--out {values['out']}: no such directory")
    return Options(**{**values, "command": tuple(values["command"])})


def _positive(text: str) -> float:
    value = float(text)
    if not 0 < value < 100_000:
        raise argparse.ArgumentTypeError(f"{text} is not a number of seconds")
    return value
