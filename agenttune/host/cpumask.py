# SPDX-License-Identifier: GPL-2.0-only
"""CpuMask: an immutable set of CPU numbers in the kernel's two notations."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

# CONFIG_NR_CPUS is at most 8192 on x86 (arch/x86/Kconfig, v6.12).
MAX_CPU = 8191


class CpuMask:
    """A set of CPUs as one integer, bit n for CPU n: 1024 CPUs take 160 bytes, not 32 KiB.

    No dataclass: JSON shows a mask in the list form, and msgspec would spell a dataclass out.
    """

    __slots__ = ("bits",)
    bits: int

    def __init__(self, bits: int = 0) -> None:
        object.__setattr__(self, "bits", bits)

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"a CpuMask cannot change (setting {name})")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, CpuMask) and self.bits == other.bits

    def __hash__(self) -> int:
        return hash(self.bits)

    def __repr__(self) -> str:
        return f"CpuMask({str(self)!r})"

    @classmethod
    def of(cls, cpus: Iterable[int]) -> CpuMask:
        bits = 0
        for cpu in cpus:
            if not 0 <= cpu <= MAX_CPU:
                raise ValueError(f"CPU {cpu} is not in 0-{MAX_CPU}")
            bits |= 1 << cpu
        return cls(bits)

    @classmethod
    def parse_list(cls, text: str) -> CpuMask:
        """Parse the kernel's list form, '0-3,8,10-14:2/4'. Raises ValueError, saying which part."""
        bits = 0
        for part in text.strip().split(","):
            if part:
                bits |= _parse_range(part.strip())
        return cls(bits)

    @classmethod
    def parse_hex(cls, text: str) -> CpuMask:
        """Parse the kernel's mask form, '00000000,0000000f'. Raises ValueError."""
        digits = text.strip().replace(",", "")
        if not digits or digits.strip("0123456789abcdefABCDEF"):
            raise ValueError(f"{text.strip()[:80]!r} is not a hexadecimal CPU mask")
        if len(digits) > (MAX_CPU + 1) // 4 + 1:
            raise ValueError(f"a CPU mask has at most {(MAX_CPU + 1) // 4} digits")
        return cls(int(digits, 16))

    def to_hex(self) -> str:
        """The mask form, in comma-separated groups of 32 bits, highest first."""
        groups = []
        bits = self.bits
        while True:
            groups.append(f"{bits & 0xFFFFFFFF:08x}")
            bits >>= 32
            if not bits:
                return ",".join(reversed(groups))

    def first(self) -> int:
        """The lowest CPU; ValueError when empty."""
        if not self.bits:
            raise ValueError("an empty CPU mask has no first CPU")
        return (self.bits & -self.bits).bit_length() - 1

    def __str__(self) -> str:
        """The list form, '0-3,8'; empty for no CPU."""
        parts = []
        bits, start = self.bits, 0
        while bits:
            skip = (bits & -bits).bit_length() - 1
            bits >>= skip
            start += skip
            run = (~bits & (bits + 1)).bit_length() - 1
            parts.append(str(start) if run == 1 else f"{start}-{start + run - 1}")
            bits >>= run
            start += run
        return ",".join(parts)

    def __iter__(self) -> Iterator[int]:
        bits = self.bits
        while bits:
            low = bits & -bits
            yield low.bit_length() - 1
            bits ^= low

    def __len__(self) -> int:
        return self.bits.bit_count()

    def __bool__(self) -> bool:
        return self.bits != 0

    def __contains__(self, cpu: object) -> bool:
        return isinstance(cpu, int) and cpu >= 0 and bool(self.bits >> cpu & 1)

    def __and__(self, other: CpuMask) -> CpuMask:
        return CpuMask(self.bits & other.bits)

    def __or__(self, other: CpuMask) -> CpuMask:
        return CpuMask(self.bits | other.bits)

    def __sub__(self, other: CpuMask) -> CpuMask:
        return CpuMask(self.bits & ~other.bits)

    def __le__(self, other: CpuMask) -> bool:
        return not self.bits & ~other.bits


def _parse_range(part: str) -> int:
    """One part of a CPU list: 'A', 'A-B' or 'A-B:used/group' (lib/bitmap-str.c, v6.12)."""
    span, _, grouping = part.partition(":")
    first_text, dash, last_text = span.partition("-")
    first = _cpu_number(first_text, part)
    last = _cpu_number(last_text, part) if dash else first
    if last < first:
        raise ValueError(f"CPU range {part!r} runs backwards")
    if not grouping:
        return ((1 << (last - first + 1)) - 1) << first
    used_text, _, group_text = grouping.partition("/")
    used, group = _cpu_number(used_text, part), _cpu_number(group_text, part)
    if not 0 < used <= group:
        raise ValueError(f"CPU range {part!r}: use 'used/group' with 0 < used <= group")
    bits = 0
    for start in range(first, last + 1, group):
        for cpu in range(start, min(start + used, last + 1)):
            bits |= 1 << cpu
    return bits


def _cpu_number(text: str, part: str) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > 6:
        raise ValueError(f"{part[:40]!r} is not a CPU number or range")
    cpu = int(text)
    if cpu > MAX_CPU:
        raise ValueError(f"CPU {cpu} is not in 0-{MAX_CPU}")
    return cpu
