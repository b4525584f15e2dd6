# SPDX-License-Identifier: GPL-2.0-only
"""debugfs agent_latency/x86, read for the tests; the format is in kmod/x86_state.h."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

X86 = Path("/sys/kernel/debug/agent_latency/x86")
KERNEL_ADDRESS = re.compile(r"\b(?:0x)?ffff[0-9a-f]{12}\b")
_VECTOR = re.compile(r"(?:vector|irr|isr) 0x([0-9a-f]{2})(?: irq (\d+) (.*)| (\w+))?")


@dataclass(frozen=True)
class Raised:
    """One vector of one CPU, and whose it is: an interrupt's, the architecture's, or unknown."""

    cpu: int
    vector: int
    irq: int | None
    name: str | None


@dataclass(frozen=True)
class X86State:
    """All lines, by CPU and kind, as text behind `cpu N KIND `."""

    addresses: str
    lines: tuple[tuple[int, str, str], ...]

    def of(self, kind: str) -> dict[int, str]:
        """CPU → the rest of its one line of `kind`."""
        found = [(cpu, rest) for cpu, name, rest in self.lines if name == kind]
        assert len(found) == len(dict(found)), f"a CPU has two lines of {kind}"
        return dict(found)

    def fields(self, kind: str) -> dict[int, dict[str, str]]:
        """CPU → its name=value fields of `kind`."""
        return {
            cpu: dict(field.split("=", 1) for field in rest.split())
            for cpu, rest in self.of(kind).items()
        }

    def raised(self, kind: str) -> list[Raised]:
        """All lines of `kind`: vector, irr or isr."""
        found = []
        for cpu, name, rest in self.lines:
            if name != kind:
                continue
            match = _VECTOR.fullmatch(f"{name} {rest}")
            assert match, f"cpu {cpu} {name} {rest}"
            irq = None if match[2] is None else int(match[2])
            found.append(Raised(cpu, int(match[1], 16), irq, match[3] or match[4]))
        return found


def parse(text: str) -> X86State:
    """Raises AssertionError where the text is not what kmod/x86_state.h says."""
    first, second, *rest = text.splitlines()
    assert first == "agent_latency x86 1"
    assert second.startswith("addresses ")
    lines = []
    for line in rest:
        match = re.fullmatch(r"cpu (\d+) (\w+) (.+)", line)
        assert match, line
        lines.append((int(match[1]), match[2], match[3]))
    return X86State(second.removeprefix("addresses "), tuple(lines))


def read_x86() -> X86State:
    """The file as it is now."""
    return parse(X86.read_text())


def assert_withheld(text: str, reason: str) -> None:
    """The text has all but the kernel's addresses, and says why."""
    state = parse(text)
    assert state.addresses == f"withheld {reason}"
    assert not KERNEL_ADDRESS.search(text)
    assert set(state.of("stack").values()) == {"withheld"}
    assert {fields["base"] for fields in state.fields("idtr").values()} == {"withheld"}
    assert len(state.raised("vector")) > 20
