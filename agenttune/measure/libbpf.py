# SPDX-License-Identifier: GPL-2.0-only
"""A thin ctypes binding to libbpf.so.1: objects, maps and programs."""

from __future__ import annotations

import ctypes
import errno
import os
from collections.abc import Iterator
from ctypes import (
    CFUNCTYPE,
    POINTER,
    Structure,
    byref,
    c_char_p,
    c_int,
    c_size_t,
    c_uint32,
    c_uint64,
    c_void_p,
    sizeof,
)
from pathlib import Path
from typing import Any, TypeVar

from agenttune.errors import HostError

S = TypeVar("S", bound=Structure)

_PrintFn = CFUNCTYPE(c_int, c_int, c_char_p, c_void_p)

_BTF_KIND_TYPEDEF, _BTF_KIND_FUNC, _BTF_KIND_VAR = 8, 12, 14
# enum bpf_map_type, include/uapi/linux/bpf.h.
_HASH, _TASK_STORAGE = 1, 29
_BPF_F_NO_PREALLOC = 1
# Threads whose state fits at a time into a hash table, within so many bytes: made before loading,
# as a probe may not always allocate.
_THREADS, _THREAD_BYTES = 16384, 16 << 20
_BPF_F_TEST_RUN_ON_CPU = 1
# struct bpf_prog_info up to recursion_misses (include/uapi/linux/bpf.h, since v5.12).
_PROG_INFO_SIZE = 216
_RECURSION_MISSES_OFFSET = 208

# Argument types by function; every pointer is opaque here.
_PROTOTYPES: dict[str, tuple[Any, tuple[Any, ...]]] = {
    "libbpf_set_print": (c_void_p, (c_void_p,)),
    "libbpf_num_possible_cpus": (c_int, ()),
    "btf__load_vmlinux_btf": (c_void_p, ()),
    "btf__find_by_name_kind": (c_int, (c_void_p, c_char_p, c_uint32)),
    "btf__type_by_id": (c_void_p, (c_void_p, c_uint32)),
    "btf__name_by_offset": (c_char_p, (c_void_p, c_uint32)),
    "btf__free": (None, (c_void_p,)),
    "bpf_object__open_file": (c_void_p, (c_char_p, c_void_p)),
    "bpf_object__load": (c_int, (c_void_p,)),
    "bpf_object__close": (None, (c_void_p,)),
    "bpf_object__find_map_by_name": (c_void_p, (c_void_p, c_char_p)),
    "bpf_object__next_program": (c_void_p, (c_void_p, c_void_p)),
    "bpf_object__next_map": (c_void_p, (c_void_p, c_void_p)),
    "bpf_map__name": (c_char_p, (c_void_p,)),
    "bpf_map__type": (c_int, (c_void_p,)),
    "bpf_map__set_type": (c_int, (c_void_p, c_int)),
    "bpf_map__map_flags": (c_uint32, (c_void_p,)),
    "bpf_map__set_map_flags": (c_int, (c_void_p, c_uint32)),
    "bpf_map__set_max_entries": (c_int, (c_void_p, c_uint32)),
    "bpf_map__max_entries": (c_uint32, (c_void_p,)),
    "bpf_map__key_size": (c_uint32, (c_void_p,)),
    "bpf_map__value_size": (c_uint32, (c_void_p,)),
    "bpf_map__initial_value": (c_void_p, (c_void_p, POINTER(c_size_t))),
    "bpf_map__fd": (c_int, (c_void_p,)),
    "bpf_map_create": (c_int, (c_int, c_char_p, *(c_uint32,) * 3, c_void_p)),
    "bpf_map_freeze": (c_int, (c_int,)),
    "bpf_map_update_elem": (c_int, (c_int, c_void_p, c_void_p, c_uint64)),
    "bpf_map_lookup_elem": (c_int, (c_int, c_void_p, c_void_p)),
    "bpf_map_delete_elem": (c_int, (c_int, c_void_p)),
    "bpf_map_lookup_batch": (c_int, (c_int, *(c_void_p,) * 4, POINTER(c_uint32), c_void_p)),
    "bpf_program__name": (c_char_p, (c_void_p,)),
    "bpf_program__section_name": (c_char_p, (c_void_p,)),
    "bpf_program__set_autoload": (c_int, (c_void_p, ctypes.c_bool)),
    "bpf_program__autoload": (ctypes.c_bool, (c_void_p,)),
    "bpf_program__attach": (c_void_p, (c_void_p,)),
    "bpf_program__fd": (c_int, (c_void_p,)),
    "bpf_link__destroy": (c_int, (c_void_p,)),
    "bpf_raw_tracepoint_open": (c_int, (c_char_p, c_int)),
    "bpf_prog_load": (c_int, (c_int, c_char_p, c_char_p, c_void_p, c_size_t, c_void_p)),
    "bpf_prog_test_run_opts": (c_int, (c_int, c_void_p)),
    "bpf_obj_get_info_by_fd": (c_int, (c_int, c_void_p, POINTER(c_uint32))),
}


class _TestRunOpts(Structure):
    """struct bpf_test_run_opts (libbpf 0.3)."""

    _fields_ = (
        ("sz", c_size_t),
        ("data_in", c_void_p),
        ("data_out", c_void_p),
        ("data_size_in", c_uint32),
        ("data_size_out", c_uint32),
        ("ctx_in", c_void_p),
        ("ctx_out", c_void_p),
        ("ctx_size_in", c_uint32),
        ("ctx_size_out", c_uint32),
        ("retval", c_uint32),
        ("repeat", c_int),
        ("duration", c_uint32),
        ("flags", c_uint32),
        ("cpu", c_uint32),
        ("batch_size", c_uint32),
    )


class Libbpf:
    """The loaded library; `log` keeps what it would have printed, for error messages."""

    def __init__(self) -> None:
        """Raises HostError when the library is missing."""
        try:
            self._library = ctypes.CDLL("libbpf.so.1", use_errno=True)
        except OSError as error:
            raise HostError(
                "libbpf.so.1 cannot be loaded, and measuring needs it",
                hint="Install libbpf 1.0 or newer; on Debian: apt install libbpf1.",
            ) from error
        self._libc = ctypes.CDLL(None)
        self.log: list[str] = []
        for name, (result, arguments) in _PROTOTYPES.items():
            function = getattr(self._library, name)
            function.restype, function.argtypes = result, arguments
        # libbpf keeps the pointer: the callback must live as long as this object.
        self._print = _PrintFn(self._keep_line)
        self.call("libbpf_set_print", ctypes.cast(self._print, c_void_p))

    def close(self) -> None:
        """Silence the library: its callback is about to go."""
        self.call("libbpf_set_print", None)

    def call(self, name: str, *arguments: Any) -> Any:
        return getattr(self._library, name)(*arguments)

    def check(self, name: str, *arguments: Any) -> Any:
        """Call a function that returns NULL or a negative number on failure: OSError then."""
        ctypes.set_errno(0)
        result = self.call(name, *arguments)
        if result is None or result < 0:
            number = ctypes.get_errno() or -(result or -errno.EINVAL)
            raise OSError(number, os.strerror(number), name)
        return result

    def log_tail(self, lines: int = 12) -> str:
        return "\n".join("".join(self.log).splitlines()[-lines:])

    def _keep_line(self, _level: int, template: bytes, arguments: int) -> int:
        buffer = ctypes.create_string_buffer(65536)
        self._libc.vsnprintf(buffer, c_size_t(sizeof(buffer)), template, c_void_p(arguments))
        self.log.append(buffer.value.decode(errors="replace"))
        return 0


class KernelTypes:
    """The running kernel's BTF, for probing what exists."""

    def __init__(self, library: Libbpf) -> None:
        """Raises OSError when the kernel has none that can be read."""
        self._library = library
        self._btf = library.check("btf__load_vmlinux_btf")

    def has_tracepoint(self, name: str) -> bool:
        return self.find(f"btf_trace_{name}", _BTF_KIND_TYPEDEF) > 0

    def finds_task_storage(self) -> bool:
        """Whether a program finds it also where it interrupted another that looks for some.

        Since v6.2 (e8b02296a6b8): kernel/bpf/bpf_task_storage.c has a get of its own for programs
        that may nest. Without the per-CPU counter of those who look none of them is turned away.
        """
        nests = self.find("bpf_task_storage_get_recur", _BTF_KIND_FUNC) > 0
        return nests or self.find("bpf_task_storage_busy", _BTF_KIND_VAR) < 0

    def percpu_symbols_resolve(self) -> bool:
        """Whether programs may use per-CPU variables (the kernel looks them up in kallsyms)."""
        ids = (self.find(name, _BTF_KIND_VAR) for name in ("__preempt_count", "pcpu_hot"))
        found = next((number for number in ids if number > 0), None)
        if found is None:
            return False
        # r0 = 0 after a 64-bit immediate load of the variable's BTF id (BPF_PSEUDO_BTF_ID, 3).
        words = (0x18 | 0x31 << 8 | found << 32, 0, 0xB7, 0x95)
        program = (c_uint64 * len(words))(*words)
        raw_tracepoint = 17
        try:
            fd = self._library.check(
                "bpf_prog_load", raw_tracepoint, b"probe", b"GPL", program, len(words), None
            )
        except OSError:
            return False
        os.close(fd)
        return True

    def find(self, name: str, kind: int) -> int:
        """A type's number; negative when there is none."""
        return int(self._library.call("btf__find_by_name_kind", self._btf, name.encode(), kind))

    def address(self, number: int) -> int:
        """Where a type's struct btf_type lies, until close()."""
        return int(self._library.check("btf__type_by_id", self._btf, number))

    def name(self, offset: int) -> str:
        found: bytes = self._library.call("btf__name_by_offset", self._btf, offset)
        return found.decode()

    def close(self) -> None:
        self._library.call("btf__free", self._btf)


class Program:
    """One BPF program of an object."""

    def __init__(self, library: Libbpf, pointer: int) -> None:
        self._library = library
        self.pointer = pointer
        self.name: str = library.call("bpf_program__name", pointer).decode()
        section: str = library.call("bpf_program__section_name", pointer).decode()
        # 'tp_btf', 'kprobe' or 'raw_tp', and what it attaches to; '' for what is only run.
        self.kind, _, self.tracepoint = section.partition("/")

    def leave_out(self) -> None:
        """Do not load this program. Only before Object.load()."""
        self._library.check("bpf_program__set_autoload", self.pointer, False)

    def is_wanted(self) -> bool:
        return bool(self._library.call("bpf_program__autoload", self.pointer))

    def attach(self) -> int:
        """Attach where the section says; OSError when the kernel refuses."""
        return int(self._library.check("bpf_program__attach", self.pointer))

    def recursion_misses(self) -> int:
        """Runs that the kernel skipped because this program already ran on the CPU."""
        info = ctypes.create_string_buffer(_PROG_INFO_SIZE)
        size = c_uint32(_PROG_INFO_SIZE)
        self._library.check("bpf_obj_get_info_by_fd", self.fd(), info, byref(size))
        return int(c_uint64.from_buffer(info, _RECURSION_MISSES_OFFSET).value)

    def run_on(self, cpu: int) -> None:
        """Run a raw tracepoint program once on that CPU; OSError when it is offline."""
        options = _TestRunOpts(sz=sizeof(_TestRunOpts), flags=_BPF_F_TEST_RUN_ON_CPU, cpu=cpu)
        self._library.check("bpf_prog_test_run_opts", self.fd(), byref(options))

    def fd(self) -> int:
        return int(self._library.check("bpf_program__fd", self.pointer))


class Map:
    """One map of an object, with the shapes of its key and value."""

    def __init__(self, library: Libbpf, pointer: int, cpus: int) -> None:
        self._library = library
        self.pointer = pointer
        self._cpus = cpus
        self.name: str = library.call("bpf_map__name", pointer).decode()

    def resize(self, entries: int) -> None:
        """Only before Object.load()."""
        self._library.check("bpf_map__set_max_entries", self.pointer, entries)

    def key_by_tid(self) -> None:
        """Make task storage a hash table by thread id; other maps stay. Only before load()."""
        if self.number("type") != _TASK_STORAGE:
            return
        flags = self.number("map_flags") & ~_BPF_F_NO_PREALLOC
        self._library.check("bpf_map__set_type", self.pointer, _HASH)
        self._library.check("bpf_map__set_map_flags", self.pointer, flags)
        self.resize(min(_THREADS, _THREAD_BYTES // self.number("value_size")))

    def initial(self, shape: type[S]) -> S:
        """A global-data map's first value, to be filled in. Only before Object.load()."""
        size = c_size_t()
        address = self._library.check("bpf_map__initial_value", self.pointer, byref(size))
        _same_size(shape, size.value)
        return shape.from_address(address)

    def set(self, index: int, value: Structure) -> None:
        """Write an array's element."""
        _same_size(type(value), self.number("value_size"))
        key = c_uint32(index)
        self._library.check("bpf_map_update_elem", self.fd(), byref(key), byref(value), 0)

    def delete(self, key: Structure) -> None:
        """Take an entry out of a hash map; OSError when there is none."""
        self._library.check("bpf_map_delete_elem", self.fd(), byref(key))

    def per_cpu(self, index: int, shape: type[S]) -> list[S]:
        """A per-CPU array's values at one index, by possible CPU."""
        _same_size(shape, self.number("value_size"))
        values = (shape * self._cpus)()
        key = c_uint32(index)
        self._library.check("bpf_map_lookup_elem", self.fd(), byref(key), values)
        return list(values)

    def items(self, key_shape: type[S], value_shape: type[Any]) -> Iterator[tuple[S, Any]]:
        """A hash map's entries, in chunks that keep memory small."""
        _same_size(key_shape, self.number("key_size"))
        _same_size(value_shape, self.number("value_size"))
        chunk = min(self.number("max_entries"), 64)
        token: Any = None
        while True:
            keys, values = (key_shape * chunk)(), (value_shape * chunk)()
            next_token = c_uint64()
            count = c_uint32(chunk)
            try:
                self._library.check(
                    "bpf_map_lookup_batch",
                    self.fd(),
                    None if token is None else byref(token),
                    byref(next_token),
                    keys,
                    values,
                    byref(count),
                    None,
                )
            except OSError as error:
                # ENOSPC: one hash bucket holds more than a chunk. ENOENT: these are the last.
                if error.errno == errno.ENOSPC:
                    chunk *= 2
                    continue
                if error.errno != errno.ENOENT:
                    raise
                yield from zip(keys[: count.value], values[: count.value], strict=True)
                return
            yield from zip(keys[: count.value], values[: count.value], strict=True)
            token = next_token

    def fd(self) -> int:
        return int(self._library.check("bpf_map__fd", self.pointer))

    def number(self, what: str) -> int:
        """The map's type, key_size, value_size, max_entries or map_flags."""
        return int(self._library.call(f"bpf_map__{what}", self.pointer))


class Object:
    """An opened BPF object file."""

    def __init__(self, library: Libbpf, path: Path) -> None:
        """Raises HostError when the file is missing, OSError when it is no BPF object."""
        if not path.exists():
            raise HostError(
                f"{path}: the BPF object is not built",
                hint="In a source tree run bpf/build; otherwise install the package again.",
            )
        self._library = library
        self._pointer = library.check("bpf_object__open_file", os.fsencode(path), None)
        self._cpus: int = library.check("libbpf_num_possible_cpus")
        self._links: list[int] = []

    def programs(self) -> Iterator[Program]:
        pointer = None
        while pointer := self._library.call("bpf_object__next_program", self._pointer, pointer):
            yield Program(self._library, pointer)

    def maps(self) -> Iterator[Map]:
        pointer = None
        while pointer := self._library.call("bpf_object__next_map", self._pointer, pointer):
            yield Map(self._library, pointer, self._cpus)

    def map(self, name: str) -> Map:
        pointer = self._library.check("bpf_object__find_map_by_name", self._pointer, name.encode())
        return Map(self._library, pointer, self._cpus)

    def load(self) -> None:
        self._library.check("bpf_object__load", self._pointer)

    def attach(self, program: Program) -> None:
        """Attach until close(); OSError when the kernel refuses."""
        self._links.append(program.attach())

    def close(self) -> None:
        while self._links:
            self._library.call("bpf_link__destroy", self._links.pop())
        self._library.call("bpf_object__close", self._pointer)


def _same_size(shape: type[Any], size: int) -> None:
    if sizeof(shape) != size:
        raise HostError(
            f"the BPF object's {shape.__name__} has {size} bytes, this version has {sizeof(shape)}",
            hint="The object is from another version: run bpf/build, or install again.",
        )
