# SPDX-License-Identifier: GPL-2.0-only
"""BPF objects that bcc compiles on this host, with the interface of libbpf.Object.

Only bcc's compiler is used. The prebuilt object, opened and never loaded, says which maps and
programs there are; maps are made and programs loaded through libbpf.
"""

from __future__ import annotations

import contextlib
import os
import struct
from collections.abc import Iterator, Mapping
from ctypes import (
    Structure,
    addressof,
    byref,
    c_int,
    c_size_t,
    c_uint32,
    c_uint64,
    c_void_p,
    create_string_buffer,
    sizeof,
    string_at,
)
from pathlib import Path

from agenttune.errors import HostError
from agenttune.measure import bcc_compiler, bcc_kernel
from agenttune.measure.kprobe import attach_kprobe
from agenttune.measure.libbpf import Libbpf, Map, Object, Program

# enum bpf_map_type, include/uapi/linux/bpf.h.
_ARRAY = 2
_BPF_F_RDONLY_PROG = 1 << 7
# The program's id for a map, until its descriptor is known: this plus its place among the maps.
_PLACEHOLDER = 0x41540000
# BPF_LD | BPF_IMM | BPF_DW; BPF_PSEUDO_MAP_FD and BPF_PSEUDO_MAP_VALUE.
_LOAD_64, _MAP_SOURCES = 0x18, (1, 2)
# enum bpf_prog_type.
_KPROBE, _RAW_TRACEPOINT = 2, 17
_LOG_SIZE = 1 << 24
# The installed package's sources; a source tree has them in bpf/.
_SOURCES = (Path(__file__).parent / "bpf", Path(__file__).parents[2] / "bpf")


class _MapOptions(Structure):
    """struct bpf_map_create_opts (libbpf 0.7)."""

    _fields_ = (
        ("sz", c_size_t),
        ("btf_fd", c_uint32),
        ("btf_key_type_id", c_uint32),
        ("btf_value_type_id", c_uint32),
        ("btf_vmlinux_value_type_id", c_uint32),
        ("inner_map_fd", c_uint32),
        ("map_flags", c_uint32),
        ("map_extra", c_uint64),
        ("numa_node", c_uint32),
        ("map_ifindex", c_uint32),
    )


class _LoadOptions(Structure):
    """struct bpf_prog_load_opts (libbpf 0.6)."""

    _fields_ = (
        ("sz", c_size_t),
        ("attempts", c_int),
        ("expected_attach_type", c_int),
        ("prog_btf_fd", c_uint32),
        ("prog_flags", c_uint32),
        ("prog_ifindex", c_uint32),
        ("kern_version", c_uint32),
        ("attach_btf_id", c_uint32),
        ("attach_prog_fd", c_uint32),
        ("attach_btf_obj_fd", c_uint32),
        ("fd_array", c_void_p),
        ("func_info", c_void_p),
        ("func_info_cnt", c_uint32),
        ("func_info_rec_size", c_uint32),
        ("line_info", c_void_p),
        ("line_info_cnt", c_uint32),
        ("line_info_rec_size", c_uint32),
        ("log_level", c_uint32),
        ("log_size", c_uint32),
        ("log_buf", c_void_p),
    )


class BccMap(Map):
    """A map as the object declares it, made by BccObject.load()."""

    def __init__(self, library: Libbpf, declared: Map, cpus: int, fds: Mapping[str, int]) -> None:
        super().__init__(library, declared.pointer, cpus)
        self._fds = fds

    def fd(self) -> int:
        return self._fds[_macro_name(self.name)]


class BccProgram(Program):
    """A program as the object names it, loaded by BccObject.load()."""

    def __init__(self, library: Libbpf, declared: Program, fds: Mapping[str, int]) -> None:
        super().__init__(library, declared.pointer)
        self._fds = fds

    def fd(self) -> int:
        return self._fds[self.name]


class BccObject(Object):
    """The source of a prebuilt object, compiled and loaded by bcc."""

    def __init__(self, library: Libbpf, path: Path) -> None:
        """Raises HostError when bcc, its headers, the object or its source are missing."""
        super().__init__(library, path)
        self._source = _source_of(path)
        self._stack = contextlib.ExitStack()
        self._fds: dict[str, int] = {}
        self._program_fds: dict[str, int] = {}

    def maps(self) -> Iterator[Map]:
        for declared in super().maps():
            yield BccMap(self._library, declared, self._cpus, self._fds)

    def map(self, name: str) -> Map:
        return BccMap(self._library, super().map(name), self._cpus, self._fds)

    def programs(self) -> Iterator[Program]:
        for declared in super().programs():
            yield BccProgram(self._library, declared, self._program_fds)

    def load(self) -> None:
        """Raises HostError with the compiler's or verifier's words, OSError for a refused map."""
        programs = list(self.programs())
        self._make_maps()
        places = {name: _PLACEHOLDER + index for index, name in enumerate(sorted(self._fds))}
        macros = bcc_kernel.macros(self._library, self._source.parent / "kernel.h")
        code = bcc_compiler.compile_programs(
            self._source,
            tuple(program.name for program in programs),
            {**macros, **{f"AT_FD_{name}": str(place) for name, place in places.items()}},
        )
        fds = {place: self._fds[name] for name, place in places.items()}
        for program in filter(Program.is_wanted, programs):
            kind = _KPROBE if program.kind == "kprobe" else _RAW_TRACEPOINT
            self._load_program(program.name, kind, _with_descriptors(code[program.name], fds))

    def attach(self, program: Program) -> None:
        attach = attach_kprobe if program.kind == "kprobe" else self._raw_tracepoint
        self._keep_link(attach(program.tracepoint, program.fd()))

    def close(self) -> None:
        self._stack.close()
        super().close()

    def _make_maps(self) -> None:
        largest = 8
        for declared in self.maps():
            internal = declared.name.startswith(".")
            if internal and not _macro_name(declared.name):
                continue
            largest = max(largest, declared.number("value_size"))
            self._keep(_macro_name(declared.name), self._make_map(declared))
            if internal:
                self._fill(declared)
        zero = self._create(_ARRAY, "zero", 4, largest, 1, _BPF_F_RDONLY_PROG)
        self._keep("zero", zero)

    def _make_map(self, declared: Map) -> int:
        names = ("key_size", "value_size", "max_entries", "map_flags")
        return self._create(declared.number("type"), declared.name, *map(declared.number, names))

    def _create(self, kind: int, name: str, key: int, value: int, entries: int, flags: int) -> int:
        options = _MapOptions(sz=sizeof(_MapOptions), map_flags=flags)
        short = name.strip(".").encode()[:15]
        arguments = (kind, short, key, value, entries, byref(options))
        return int(self._library.check("bpf_map_create", *arguments))

    def _fill(self, declared: Map) -> None:
        """Give a global its first value; what programs may only read becomes a constant."""
        size = c_size_t()
        address = self._library.check("bpf_map__initial_value", declared.pointer, byref(size))
        key, value = c_uint32(0), create_string_buffer(string_at(address, size.value), size.value)
        self._library.check("bpf_map_update_elem", declared.fd(), byref(key), value, 0)
        if declared.number("map_flags") & _BPF_F_RDONLY_PROG:
            self._library.check("bpf_map_freeze", declared.fd())

    def _keep(self, name: str, fd: int) -> None:
        self._fds[name] = fd
        self._stack.callback(os.close, fd)

    def _load_program(self, name: str, kind: int, code: bytes) -> None:
        arguments = (kind, name.encode()[:15], b"GPL", code, len(code) // 8)
        try:
            program = int(self._library.check("bpf_prog_load", *arguments, None))
        except OSError as error:
            raise HostError(
                f"the kernel refused the BPF program {name} ({error.strerror}):\n"
                + self._verifier_log(arguments),
                hint="Report this with the lines above and the output of: uname -a",
            ) from error
        self._program_fds[name] = program
        self._stack.callback(os.close, program)

    def _verifier_log(self, arguments: tuple[int, bytes, bytes, bytes, int]) -> str:
        """Why the verifier refuses a program: the last lines of what it says."""
        log = create_string_buffer(_LOG_SIZE)
        options = _LoadOptions(
            sz=sizeof(_LoadOptions), log_level=1, log_size=_LOG_SIZE, log_buf=addressof(log)
        )
        fd = self._library.call("bpf_prog_load", *arguments, byref(options))
        if fd >= 0:
            os.close(fd)
        return "\n".join(log.value.decode(errors="replace").splitlines()[-12:])

    def _raw_tracepoint(self, tracepoint: str, program: int) -> int:
        arguments = (tracepoint.encode(), program)
        return int(self._library.check("bpf_raw_tracepoint_open", *arguments))

    def _keep_link(self, fd: int) -> None:
        self._stack.callback(os.close, fd)


def _macro_name(name: str) -> str:
    """A map's name as the source knows it; '' for globals that only libbpf's build has."""
    if not name.startswith("."):
        return name
    return name.split(".")[2] if name.count(".") > 1 else ""


def _source_of(path: Path) -> Path:
    name = path.name.removesuffix(".o") + ".c"
    for folder in _SOURCES:
        if (folder / name).exists():
            return folder / name
    raise HostError(f"{name}: the BPF source is not installed", hint="Install the package again.")


def _with_descriptors(code: bytes, fds: Mapping[int, int]) -> bytes:
    """The program with its maps' descriptors in the places of their placeholders."""
    patched = bytearray(code)
    for at in range(0, len(code), 8):
        operation, registers, _, number = struct.unpack_from("<BBhi", code, at)
        if operation == _LOAD_64 and registers >> 4 in _MAP_SOURCES and number in fds:
            struct.pack_into("<i", patched, at + 4, fds[number])
    return bytes(patched)
