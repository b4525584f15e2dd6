# SPDX-License-Identifier: GPL-2.0-only
"""What a guest kernel's messages tell."""

from __future__ import annotations

import re

_TROUBLE = re.compile(
    r"Kernel panic|Oops|BUG: |WARNING: |general protection fault|int3: 0000|soft lockup"
    r"|hard LOCKUP|detected stalls|self-detected stall|blocked for more than|sysrq: Trigger a crash"
    # What the debug kernel's checkers say without one of the words above.
    r"|UBSAN: |KASAN: |ODEBUG: |suspicious RCU usage|possible recursive locking"
    r"|scheduling while atomic|kmemleak: \d+ new suspected|lockdep: .*turn(ed|ing) off"
)
# Multi-threaded TCG sometimes runs a breakpoint the kernel has already patched away.
_INT3 = re.compile(r"\bint3: 0000 \[#")
# Our module's frames, our BPF programs and the trampolines made for them.
_OUR_CODE = re.compile(r"\[agent_latency\]|\bbpf_prog_|\bbpf_trampoline_")


def trouble(text: str) -> list[str]:
    """The lines that report an oops, a warning, a stall or a panic, in order."""
    return [line.strip() for line in text.splitlines() if _TROUBLE.search(line)]


def is_stray_int3(text: str) -> bool:
    """Whether the kernel died of an int3 that none of our code had a part in."""
    return bool(_INT3.search(text)) and not _OUR_CODE.search(text)


def last_lines(text: str, count: int = 30) -> str:
    """The end of the messages, for somebody who has to find out why."""
    return "\n".join(text.splitlines()[-count:])
