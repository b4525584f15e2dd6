# SPDX-License-Identifier: GPL-2.0-only
"""agenttune.h speaks the documented ABI, from C99 and C++, as strace sees it."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from mark_witness import BEGIN, BIND, END, UNBIND, witness

from agenttune import steps

INCLUDE = Path(steps.__file__).parent / "include"
STRICT = ["-Wall", "-Wextra", "-Wpedantic", "-Wconversion", "-Wshadow", "-Werror", f"-I{INCLUDE}"]

PROGRAM = r"""
#include "agenttune.h"
#include <stdio.h>
#include <unistd.h>

int main(void)
{
	int pair[2];
	uint64_t cookie;

	if (socketpair(AF_UNIX, SOCK_STREAM, 0, pair))
		return 1;
	errno = ENOENT;
	agenttune_begin(0xfedcba9876543210u, AGENTTUNE_TOOL, "search", 0xffffffffffffffffu, 7);
	cookie = agenttune_bind(0xfedcba9876543210u, pair[0]);
	agenttune_unbind(0xfedcba9876543210u, cookie);
	agenttune_end(0xfedcba9876543210u);
	agenttune_begin(2, AGENTTUNE_MODEL, NULL, 0, 0);
	agenttune_unbind(2, agenttune_bind(2, -1));
	agenttune_begin(3, AGENTTUNE_OTHER, (const char *)(uintptr_t)0x800012340000u, 0, 0);
	if (errno != ENOENT)
		return 2;
	printf("%d %llu\n", (int)getpid(), (unsigned long long)cookie);
	fflush(stdout);
	return getchar() == EOF;
}
"""

PAGE_PROGRAM = r"""
#include "agenttune.h"
#include <stdio.h>

int main(void)
{
	struct agenttune_attached self;
	int attached = agenttune_attach(&self);

	errno = ENOENT;
	agenttune_page_begin(&self, 9, AGENTTUNE_TOOL, 11, 7);
	agenttune_page_end(&self);
	agenttune_detach(&self);
	if (errno != ENOENT)
		return 2;
	printf("%d %d\n", (int)getpid(), attached);
	fflush(stdout);
	return getchar() == EOF;
}
"""

COMPILERS = [("clang", "c99", "c"), ("clang", "gnu17", "c"), ("clang++", "c++11", "cc"),
             ("clang++", "c++20", "cc")]  # fmt: skip


def compile_program(text: str, folder: Path, compiler: str, standard: str, suffix: str) -> Path:
    source = folder / f"program.{suffix}"
    source.write_text(text)
    # C99 alone hides socketpair() and getpid(), not what the header needs.
    command = [compiler, f"-std={standard}", "-D_DEFAULT_SOURCE", *STRICT]
    done = subprocess.run(
        [*command, source, "-o", folder / "program"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return folder / "program"


@pytest.mark.parametrize(("compiler", "standard", "suffix"), COMPILERS)
def test_every_word_of_every_mark(
    compiler: str, standard: str, suffix: str, tmp_path: Path
) -> None:
    program = compile_program(PROGRAM, tmp_path, compiler, standard, suffix)
    seen = witness([program], tmp_path / "log")
    cookie = int(seen.said[1])
    first = 0xFEDCBA9876543210
    assert cookie
    assert [(mark.kind, *mark.call) for mark in seen.marks] == [
        (1, BEGIN, first, 2**64 - 1, 7),
        (0, BIND, first, cookie, 0), (0, UNBIND, first, cookie, 0), (0, END, first, 0, 0),
        (2, BEGIN, 2, 0, 0), (0, BEGIN, 3, 0, 0),
    ]  # fmt: skip
    assert seen.names == (b"search",)
    assert [bool(mark.name_address) for mark in seen.marks] == [True] + [False] * 5
    assert {mark.answer for mark in seen.marks} == {"-1 EINVAL (Invalid argument)"}


@pytest.mark.parametrize(("compiler", "standard", "suffix"), COMPILERS)
def test_without_the_module_page_marks_are_marks(
    compiler: str, standard: str, suffix: str, tmp_path: Path
) -> None:
    program = compile_program(PAGE_PROGRAM, tmp_path, compiler, standard, suffix)
    seen = witness([program], tmp_path / "log")
    assert seen.said[1] == "0"
    assert [(mark.kind, *mark.call) for mark in seen.marks] == [
        (1, BEGIN, 9, 11, 7), (0, END, 9, 0, 0),
    ]  # fmt: skip


@pytest.mark.parametrize("target", ["i386-linux-gnu", "x86_64-linux-gnux32", "x86_64-apple-darwin"])
def test_elsewhere_it_compiles_to_nothing(target: str, tmp_path: Path) -> None:
    source = tmp_path / "calls.c"
    source.write_text(
        '#include "agenttune.h"\n'
        "void calls(void) { agenttune_begin(1, AGENTTUNE_TOOL, 0, 0, 0); agenttune_end(1);\n"
        "agenttune_unbind(1, agenttune_bind(1, 0)); }\n"
        "void page(struct agenttune_attached *self) { agenttune_attach(self);\n"
        "agenttune_page_begin(self, 1, AGENTTUNE_TOOL, 0, 0); agenttune_page_end(self);\n"
        "agenttune_detach(self); }\n"
    )
    options = ["-std=c99", "-ffreestanding", "-O2", "-S", "-o", "-", f"--target={target}"]
    done = subprocess.run(
        ["clang", *options, *STRICT, source], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "call" not in [word for line in done.stdout.splitlines() for word in line.split()[:1]]
    assert "prctl" not in done.stdout


def test_strict_c99_suffices(tmp_path: Path) -> None:
    source = tmp_path / "plain.c"
    source.write_text(
        '#include "agenttune.h"\nint main(void) { struct agenttune_attached self;\n'
        "agenttune_attach(&self); agenttune_page_begin(&self, 1, AGENTTUNE_TOOL, 0, 0);\n"
        "agenttune_page_end(&self); agenttune_detach(&self); agenttune_end(1); return 0; }\n"
    )
    subprocess.run(["clang", "-std=c99", *STRICT, source, "-o", tmp_path / "plain"], check=True)


def test_python_and_the_header_agree() -> None:
    header = (INCLUDE / "agenttune.h").read_text()
    for name, value in [
        ("AGENTTUNE_BEGIN", steps._BEGIN), ("AGENTTUNE_END", steps._END),
        ("AGENTTUNE_BIND", steps._BIND), ("AGENTTUNE_UNBIND", steps._UNBIND),
        *((f"AGENTTUNE_{kind.upper()}", code) for kind, code in steps._KINDS.items()),
    ]:  # fmt: skip
        assert f"\t{name} = {value}" in header
    assert f"#define AGENTTUNE_OPTION {steps._OPTION:#x}\n" in header
