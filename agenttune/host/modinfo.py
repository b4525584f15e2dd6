# SPDX-License-Identifier: GPL-2.0-only
"""Modinfo: what a kernel module's file says about itself."""

from __future__ import annotations

import lzma
import struct
from dataclasses import dataclass
from pathlib import Path

# MODULE_SIG_STRING (include/linux/module_signature.h, v6.12) ends a signed file.
_SIGNED = b"~Module signature appended~\n"
_MAX_BYTES = 64 << 20


@dataclass(frozen=True, slots=True)
class Modinfo:
    """`vermagic` starts with the release of the kernel that the module is for."""

    vermagic: str
    version: str
    srcversion: str
    signed: bool

    @property
    def release(self) -> str:
        return self.vermagic.split(" ", 1)[0]


def module_bytes(path: Path) -> bytes:
    """The file as the kernel takes it, unpacked. Raises OSError, LZMAError."""
    with path.open("rb") as file:
        data = file.read(_MAX_BYTES)
    return lzma.decompress(data) if path.suffix == ".xz" else data


def read_modinfo(path: Path) -> Modinfo | None:
    """None for a file that cannot be read or is no module."""
    try:
        data = module_bytes(path)
        words = _section(data, b".modinfo").split(b"\0")
    except (OSError, lzma.LZMAError, struct.error, ValueError):
        return None
    found: dict[str, str] = {}
    for word in words:
        key, _, value = word.partition(b"=")
        found.setdefault(key.decode("ascii", "replace"), value.decode("utf-8", "replace"))
    if "vermagic" not in found:
        return None
    return Modinfo(
        vermagic=found["vermagic"],
        version=found.get("version", ""),
        srcversion=found.get("srcversion", ""),
        signed=data.endswith(_SIGNED),
    )


def _section(data: bytes, wanted: bytes) -> bytes:
    """A section of a 64-bit little-endian ELF file, by name. Raises ValueError."""
    if data[:6] != b"\x7fELF\x02\x01":
        raise ValueError("no 64-bit little-endian ELF file")
    (headers,) = struct.unpack_from("<Q", data, 0x28)
    size, count, names = struct.unpack_from("<HHH", data, 0x3A)
    sections = [struct.unpack_from("<IIQQQQ", data, headers + size * i) for i in range(count)]
    _, _, _, _, strings, _ = sections[names]
    for name, _, _, _, offset, length in sections:
        start = strings + name
        if data[start : data.index(b"\0", start)] == wanted:
            return data[offset : offset + length]
    raise ValueError(f"no section {wanted!r}")
