# SPDX-License-Identifier: GPL-2.0-only
"""agenttune.attach() without the module, and its numbers against the module's own header."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

import agenttune
from agenttune.attach import ATTACH, DETACH, FEATURES, INFO, Files, info

TREE = Path(__file__).parent.parent


def open_files() -> list[str]:
    return sorted(path.name for path in Path("/proc/self/fd").iterdir())


LAYOUT = r"""
#include <stddef.h>
#include <stdio.h>
#include "agent_latency.h"
#include "agenttune.h"
#define SAME(member) _Static_assert(offsetof(struct agenttune_slot, member) == \
	offsetof(struct agent_latency_slot, member), #member)
SAME(step_id); SAME(begin_ns); SAME(end_ns); SAME(deadline_ns);
SAME(budget_us); SAME(kind); SAME(begun); SAME(reserved);
_Static_assert(sizeof(struct agenttune_slot) == AGENT_LATENCY_SLOT_BYTES, "slot");
_Static_assert(AGENTTUNE_PAGE_BYTES == AGENT_LATENCY_PAGE_BYTES, "page");
_Static_assert(AGENT_LATENCY_ATTACH == 0xc010a701ul, "the header's request");
_Static_assert(AGENTTUNE_TOOL == AGENT_LATENCY_TOOL, "kind");
_Static_assert(AGENTTUNE_MODEL == AGENT_LATENCY_MODEL, "kind");

int main(void)
{
	unsigned long requests[] = { AGENT_LATENCY_INFO, AGENT_LATENCY_ATTACH, AGENT_LATENCY_DETACH };

	printf("%lu %lu %lu\n", requests[0], requests[1], requests[2]);
	printf("%d %d ", AGENT_LATENCY_PRCTL, AGENT_LATENCY_BLOCK);
	printf("%d %d ", AGENT_LATENCY_SOCKET, AGENT_LATENCY_NAPI);
	printf("%d\n", AGENT_LATENCY_GUARDRAIL);
	return 0;
}
"""


def test_the_numbers_are_the_modules(tmp_path: Path) -> None:
    source = tmp_path / "layout.c"
    source.write_text(LAYOUT)
    folders = [f"-I{TREE / 'kmod/uapi'}", f"-I{TREE / 'agenttune/include'}"]
    command = ["gcc", "-std=gnu11", "-Werror", *folders, source, "-o", tmp_path / "layout"]
    subprocess.run(command, check=True)
    said = subprocess.run([tmp_path / "layout"], capture_output=True, text=True, check=True)
    requests, features = (list(map(int, line.split())) for line in said.stdout.splitlines())
    assert requests == [INFO, ATTACH, DETACH]
    assert features == [1 << bit for bit in range(len(FEATURES))]


def test_without_the_module_nothing_happens() -> None:
    opened = open_files()
    assert agenttune.attach() is False
    assert agenttune.detach() is False
    found = []
    thread = threading.Thread(target=lambda: found.append((agenttune.attach(), agenttune.detach())))
    thread.start()
    thread.join()
    assert found == [(False, False)]
    assert open_files() == opened


def test_for_operators_it_raises() -> None:
    with pytest.raises(FileNotFoundError):
        info("/dev/none")
    with pytest.raises(FileNotFoundError):
        Files("/dev/none").attach(os.getpid())


def test_another_device_is_refused_and_closed() -> None:
    opened = open_files()
    files = Files("/dev/null")
    with pytest.raises(OSError) as caught:
        files.attach(os.getpid())
    assert caught.value.errno == errno.ENOTTY
    assert not files.attached()
    assert not files.detach(os.getpid())
    assert open_files() == opened


def test_it_loads_nothing_else_of_the_package() -> None:
    program = (
        "import sys; sys.path.insert(0, '.'); import agenttune; agenttune.attach();"
        "print(sorted(n for n in sys.modules if n.startswith('agenttune')))"
    )
    command = [sys.executable, "-I", "-c", program]
    done = subprocess.run(command, cwd=TREE, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "['agenttune', 'agenttune.attach', 'agenttune.steps']"
