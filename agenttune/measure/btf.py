# SPDX-License-Identifier: GPL-2.0-only
"""Where the running kernel keeps the fields that bpf/kernel.h declares."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from ctypes import Structure, c_uint32
from dataclasses import dataclass
from pathlib import Path

from agenttune.measure.libbpf import KernelTypes

_KIND_STRUCT, _KIND_UNION, _KIND_TYPEDEF = 4, 5, 8

_DECLARATION = re.compile(
    r"^(?P<typedef>typedef )?struct (?:AT_KERNEL\((?P<tag>\w+)\) )?\{(?P<body>[^}]*)\}"
    r"(?: AT_KERNEL\((?P<alias>\w+)\))?;",
    re.MULTILINE,
)
_FIELD = re.compile(r"(\w+)(?:\[\d+\])?;")


@dataclass(frozen=True, slots=True)
class Field:
    """One field of a kernel type; `type_name` is a struct's tag, or a typedef's name."""

    type_name: str
    name: str
    is_typedef: bool = False

    @property
    def macro(self) -> str:
        """What bpf/front_bcc.h calls its offset."""
        return f"AT_OFF_{self.type_name}__{self.name}"

    @property
    def expression(self) -> str:
        """The offset, for a compiler that sees the kernel's own headers."""
        tag = self.type_name if self.is_typedef else f"struct {self.type_name}"
        return f"__builtin_offsetof({tag}, {self.name})"


class _Type(Structure):
    """struct btf_type (include/uapi/linux/btf.h)."""

    _fields_ = (("name", c_uint32), ("info", c_uint32), ("size_or_type", c_uint32))


class _Member(Structure):
    """struct btf_member (include/uapi/linux/btf.h)."""

    _fields_ = (("name", c_uint32), ("type", c_uint32), ("offset", c_uint32))


def declared_fields(header: Path) -> tuple[Field, ...]:
    """Every field that the header declares."""
    return tuple(
        Field(match["tag"] or match["alias"], name, bool(match["typedef"]))
        for match in _DECLARATION.finditer(header.read_text())
        for name in _FIELD.findall(match["body"])
    )


def offsets(types: KernelTypes, fields: tuple[Field, ...]) -> Mapping[Field, int | None]:
    """Byte offsets; None where the kernel has no such type or field."""
    return {field: _offset(types, field) for field in fields}


def _offset(types: KernelTypes, field: Field) -> int | None:
    kind = _KIND_TYPEDEF if field.is_typedef else _KIND_STRUCT
    number = types.find(field.type_name, kind)
    if number <= 0:
        return None
    if field.is_typedef:
        number = _Type.from_address(types.address(number)).size_or_type
    return next((at for name, at in _members(types, number, 0) if name == field.name), None)


def _members(types: KernelTypes, number: int, base: int) -> Iterator[tuple[str, int]]:
    """Named members with their byte offsets, those of anonymous structs and unions included."""
    address = types.address(number)
    info = _Type.from_address(address).info
    if info >> 24 & 0x1F not in (_KIND_STRUCT, _KIND_UNION):
        return
    # The kind flag says that some members are bit fields; the offset is then the low 24 bits.
    mask = 0xFFFFFF if info >> 31 else 0xFFFFFFFF
    for index in range(info & 0xFFFF):
        at = address + 12 + 12 * index
        member = _Member.from_address(at)
        offset = base + (member.offset & mask) // 8
        name = types.name(member.name)
        if name:
            yield name, offset
        else:
            yield from _members(types, member.type, offset)
