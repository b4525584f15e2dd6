# SPDX-License-Identifier: GPL-2.0-only
"""What can go wrong with the lab itself, as opposed to the command it runs."""

from __future__ import annotations

TIME_LIMIT_EXIT = 124
LAB_BROKE_EXIT = 125


class LabError(Exception):
    """The lab broke: no verdict about the command. `exit_code` is what vm/run ends with."""

    exit_code = LAB_BROKE_EXIT


class SetupMissing(LabError):
    """Something that vm/setup --lab puts into the cache is not there."""


class BootHung(LabError):
    """No sentinel from the guest within the boot limit."""


class KernelDied(LabError):
    """The guest ended without telling the command's exit status."""


class EmulatorDied(LabError):
    """QEMU itself aborted; the guest had no say in it."""


class TimeLimit(LabError):
    """The command ran longer than its limit."""

    exit_code = TIME_LIMIT_EXIT
