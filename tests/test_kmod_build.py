# SPDX-License-Identifier: GPL-2.0-only
"""The module builds for every kernel Debian 12 ships, and no checker has anything to say."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from vm.lab.cache import Cache, cache_root
from vm.lab.errors import SetupMissing
from vm.lab.kernels import SHIPPED
from vm.lab.module import NAME, TREE, Variant, kernel_tree
from vm.lab.module_build import BuildFailed, build

CACHE = Cache(cache_root())
CHECKPATCH = CACHE.root / "checkpatch/checkpatch.pl"
# What checkpatch says against its own kernel's practice, by file: the types, and why they stay.
EXCEPTIONS = {
    "attribution.c": (
        ("COMPLEX_MACRO", "MACRO_ARG_REUSE"),
        "its two macros make a pair of functions, and their rows of the table of probes",
    ),
    "compat.h": (
        ("LINUX_VERSION_CODE", "CONSTANT_COMPARISON"),
        "an out-of-tree module tells kernels apart where no feature can be probed for",
    ),
    "trace.h": (
        ("PARENTHESIS_ALIGNMENT", "OPEN_ENDED_LINE"),
        "every trace header of the kernel is laid out so (include/trace/events)",
    ),
}


@pytest.fixture(scope="module", autouse=True)
def lab_is_set_up() -> None:
    try:
        for kernel in SHIPPED:
            kernel_tree(CACHE, kernel)
    except SetupMissing as missing:
        pytest.skip(str(missing))
    if not CHECKPATCH.exists():
        pytest.skip(f"{CHECKPATCH} is missing: run 'vm/setup --lab' first")


# Each flavour, each compiler and each checker on one kernel; --thorough: on every kernel.
SHORT = ("6.1", "6.12", "6.12-rt", "6.12-cloud")


@pytest.mark.parametrize(
    "kernel",
    [name if name in SHORT else pytest.param(name, marks=pytest.mark.thorough) for name in SHIPPED],
)
def test_it_builds(kernel: str) -> None:
    assert (build(CACHE, Variant(kernel)) / f"{NAME}.ko").exists()


@pytest.mark.parametrize("kernel", ["6.12", pytest.param("6.1", marks=pytest.mark.thorough)])
def test_it_builds_with_clang(kernel: str) -> None:
    module = build(CACHE, Variant(kernel, llvm=True)) / f"{NAME}.ko"
    assert b"clang version" in module.read_bytes()


# PREEMPT_RT has other lock types than the plain kernel.
@pytest.mark.parametrize(
    "kernel",
    ["6.12", *(pytest.param(name, marks=pytest.mark.thorough) for name in ("6.1", "6.12-rt"))],
)
def test_sparse_is_content(kernel: str) -> None:
    build(CACHE, Variant(kernel, sparse=True))


def test_checkpatch_is_content() -> None:
    files = sorted((TREE / "kmod").rglob("*.[ch]"))
    found = [line for file in files for line in complaints(file)]
    assert files
    assert not found, "\n".join(found)


@pytest.mark.parametrize("name", EXCEPTIONS)
def test_every_exception_is_needed(name: str) -> None:
    types, _ = EXCEPTIONS[name]
    said = "\n".join(checkpatch(TREE / "kmod" / name, []))
    assert [kind for kind in types if f":{kind}:" not in said] == []


def complaints(file: Path) -> list[str]:
    types, _ = EXCEPTIONS.get(file.name, ((), ""))
    return checkpatch(file, types)


def checkpatch(file: Path, ignored: Sequence[str]) -> list[str]:
    """What checkpatch finds in `file`, a line each."""
    options = ["--strict", "--no-tree", "--terse", "--show-types", "--no-summary", "--quiet"]
    if ignored:
        options.append(f"--ignore={','.join(ignored)}")
    done = subprocess.run(
        ["perl", CHECKPATCH, *options, "--file", file],
        capture_output=True,
        text=True,
        check=False,
    )
    lines = (done.stdout + done.stderr).splitlines()
    assert bool(done.returncode) == bool(lines), "checkpatch's status is not what it says"
    return lines


# Each check fails where there is something to find.

SMALL = """\
// SPDX-License-Identifier: GPL-2.0-only
#include <linux/module.h>
#include <linux/uaccess.h>

{wrong}

MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("Something wrong for the checkers to find");
"""
UNUSED = "void at_unused(void);\nvoid at_unused(void)\n{\n\tint set;\n\n\tset = 1;\n}"
USER_POINTER = (
    "int at_peek(const int __user *at);\nint at_peek(const int __user *at)\n{\n\treturn *at;\n}"
)


@pytest.fixture
def wrong_tree(tmp_path: Path) -> Iterator[Path]:
    (tmp_path / "kmod").mkdir()
    (tmp_path / "kmod/Kbuild").write_text(f"obj-m := {NAME}.o\n")
    yield tmp_path
    shutil.rmtree(tmp_path)


@pytest.mark.parametrize(
    ("variant", "wrong", "said"),
    [
        (Variant("6.12"), UNUSED, "-Wunused-but-set-variable"),
        (Variant("6.12", llvm=True), UNUSED, "-Wunused-but-set-variable"),
        (Variant("6.12", sparse=True), USER_POINTER, "dereference of noderef expression"),
    ],
    ids=["gcc", "clang", "sparse"],
)
def test_a_warning_is_a_failure(wrong_tree: Path, variant: Variant, wrong: str, said: str) -> None:
    (wrong_tree / f"kmod/{NAME}.c").write_text(SMALL.format(wrong=wrong))
    with pytest.raises(BuildFailed, match=said):
        build(CACHE, variant, wrong_tree)


def test_checkpatch_finds_something(tmp_path: Path) -> None:
    file = tmp_path / "wrong.c"
    file.write_text(SMALL.format(wrong="int at_wrong( void );"))
    assert any(":SPACING:" in line for line in complaints(file))
