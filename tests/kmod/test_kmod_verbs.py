# SPDX-License-Identifier: GPL-2.0-only
"""agenttune's verbs on the real module: load, refuse, set, attach, show, unload."""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from actors import eventually
from loading import KernelModule

from agenttune import __main__
from agenttune.attach import Files, info
from agenttune.change import loader
from agenttune.host.module import BUILDS, DEVICE, SETTINGS, SYSFS
from agenttune.policy.module import DEFAULTS

pytestmark = [pytest.mark.guest, pytest.mark.kmod]

TREE = Path(__file__).parents[2]
PROFILE = """\
description: a test
agent: {cpus: 1-2}
module: {load: true, required: true, napi-budget: 16, softirq-budget-us: 200}
softirq: {netdev-budget: 299}
"""
AGENT = """\
import sys, time
sys.path.insert(0, sys.argv[1])
import agenttune
print(int(sys.argv[2] == "self" and agenttune.attach()), flush=True)
for number in range(int(sys.argv[3])):
    with agenttune.step("verbs", kind="tool"):
        time.sleep(0.01)
print(int(agenttune.detach()), flush=True)
sys.stdin.read()
"""


@pytest.fixture
def away(module: KernelModule, tmp_path: Path) -> Iterator[Path]:
    """Not loaded, and built where agenttune looks; the state directory of the test."""
    build = Path(BUILDS) / os.uname().release
    build.mkdir(parents=True, exist_ok=True)
    with module.away():
        shutil.copy(module.path, build / "agent_latency.ko")
        yield tmp_path / "state"
        __main__.main(["revert", "--state-dir", str(tmp_path / "state")])
    shutil.rmtree(build)


@pytest.fixture
def run(away: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """One command line: its exit code, output and errors."""

    def command(*words: str) -> tuple[int, str, str]:
        capsys.readouterr()
        code = __main__.main([*words, "--state-dir", str(away)])
        return (int(code), *capsys.readouterr())

    return command


Run = Callable[..., tuple[int, str, str]]


def settings() -> dict[str, str]:
    return {path.name: path.read_text().strip() for path in Path(SETTINGS).iterdir()}


def is_gone() -> bool:
    return not any(Path(path).exists() for path in (SYSFS, SETTINGS, DEVICE))


def test_after_a_load_everything_is_off(run: Run) -> None:
    assert run("module", "load")[0] == 0
    found = settings()
    assert found == {name: DEFAULTS[name] for name in found}
    assert {"agent_cpus", "agent_napi_budget", "agent_softirq_budget_ns"} <= found.keys()
    assert run("module", "status")[0] == 0
    assert run("module", "unload")[0] == 0
    assert is_gone()


def test_load_with_settings_status_and_unload(run: Run) -> None:
    code, said, _ = run("module", "status", "--json")
    assert (code, json.loads(said)["module"]["version"]) == (0, None)
    assert run("module", "load", "agent_cpus=3,1-2")[0] == 0
    assert settings()["agent_cpus"] == "1-3"
    now = json.loads(run("module", "status", "--json")[1])["module"]
    assert (now["ours"], now["references"], now["users"]) == (True, 0, [])
    assert {"prctl", "block"} <= set(now["features"])
    assert now["version"] == Path(f"{SYSFS}/version").read_text().strip()
    assert run("module", "load", "agent_cpus=1")[0] == 0
    assert settings()["agent_cpus"] == "1"
    assert run("status")[0] == 0
    code, said, _ = run("module", "unload")
    assert (code, is_gone()) == (0, True), said
    assert run("module", "unload")[0] == 0


def test_a_profile_loads_sets_and_takes_it_back(run: Run, tmp_path: Path) -> None:
    profile = tmp_path / "test.yaml"
    profile.write_text(PROFILE)
    budget = Path("/proc/sys/net/core/netdev_budget")
    before = budget.read_text()
    code, said, errors = run("apply", str(profile))
    assert code == 0, errors
    assert settings()["agent_cpus"] == "1-2"
    assert settings()["agent_napi_budget"] == "16"
    assert settings()["agent_softirq_budget_ns"] == "200000"
    assert run("status")[0] == 0
    code, said, errors = run("revert")
    assert code == 0, said + errors
    assert said.index("agent_cpus") < said.index("module agent_latency")
    assert is_gone()
    assert budget.read_text() == before


def test_in_use_is_left_with_who_holds_it(run: Run) -> None:
    assert run("module", "load")[0] == 0
    with open_device() as holder:
        code, said, _ = run("module", "unload")
        assert code == 3
        assert f"(pid {holder.pid}) has {DEVICE} open" in said
        code, said, _ = run("revert")
        assert code == 3
    assert run("revert")[0] == 0
    assert is_gone()


def open_device() -> subprocess.Popen[str]:
    program = f"import os, sys; os.open({DEVICE!r}, os.O_RDWR); print(1, flush=True); input()"
    holder = subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout
    assert holder.stdout.readline() == "1\n"
    return holder


def test_a_foreign_setting_stays_and_so_does_the_module_once(run: Run) -> None:
    assert run("module", "load", "agent_cpus=1")[0] == 0
    Path(f"{SETTINGS}/agent_cpus").write_text("2\n")
    assert run("status")[0] == 2
    assert run("revert")[0] == 3
    assert settings()["agent_cpus"] == "2"
    assert run("revert")[0] == 0
    assert is_gone()


def test_what_someone_else_loaded_is_theirs(run: Run, module: KernelModule) -> None:
    module.load()
    code, _, errors = run("module", "load")
    assert (code, "not by agenttune" in errors) == (1, True)
    code, _, errors = run("module", "unload")
    assert (code, "rmmod" in errors) == (1, True)
    with pytest.raises(OSError) as caught:
        loader.load(Path(BUILDS) / os.uname().release / "agent_latency.ko")
    assert caught.value.errno == errno.EEXIST
    module.unload()


def test_gone_already_is_no_trouble(run: Run, module: KernelModule) -> None:
    assert run("module", "load", "agent_cpus=1")[0] == 0
    module.unload()
    assert run("status")[0] == 2
    assert run("revert")[0] == 0


def test_another_kernels_module_is_refused_by_us_and_by_the_kernel(run: Run) -> None:
    build = Path(BUILDS) / os.uname().release / "agent_latency.ko"
    data = build.read_bytes()
    release = os.uname().release.encode()
    build.write_bytes(data.replace(b"vermagic=" + release, b"vermagic=" + release[::-1]))
    code, _, errors = run("module", "load")
    assert (code, "module build" in errors) == (1, True)
    # With modversions the kernel compares what follows the release (same_magic()).
    build.write_bytes(data.replace(b" mod_unload ", b" mod_unlaod "))
    code, _, errors = run("module", "load")
    assert (code, "does not fit this build" in errors) == (1, True)
    assert "the kernel said: agent_latency: version magic" in errors
    build.write_bytes(data[: len(data) // 2])
    assert run("module", "load")[0] == 1
    assert is_gone()


def test_a_setting_that_the_module_refuses_undoes_the_load(run: Run) -> None:
    code, _, errors = run("module", "load", "agent_cpus=4000")
    assert code == 1, errors
    assert "agent_cpus" in errors
    assert is_gone()


def test_without_the_capability_it_says_so(away: Path) -> None:
    words = ["setpriv", "--bounding-set=-sys_module", "--inh-caps=-sys_module", sys.executable]
    words += ["-m", "agenttune", "module", "load", "--state-dir", str(away)]
    done = subprocess.run(words, cwd=TREE, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "may not load modules (EPERM)" in done.stderr
    assert is_gone()


def start_agent(how: str, steps: int, *, user: bool = False) -> subprocess.Popen[str]:
    read = "-all,+dac_read_search"
    drop = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
    drop += [f"--inh-caps={read}", f"--ambient-caps={read}"]
    program = [sys.executable, "-c", AGENT, str(TREE), how, str(steps)]
    return subprocess.Popen(
        [*(drop if user else ()), *program],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def told_steps(pid: int) -> int:
    lines = Path("/sys/kernel/debug/agent_latency/steps").read_text().splitlines()
    return sum(f" tid={pid} " in line and " name=verbs " in line for line in lines)


@pytest.mark.parametrize("user", [False, True], ids=["root", "nobody"])
def test_an_agent_attaches_itself(module: KernelModule, user: bool) -> None:
    with start_agent("self", 5, user=user) as agent:
        assert agent.stdout
        assert agent.stdout.readline() == "1\n"
        assert agent.stdout.readline() == "1\n"
        assert told_steps(agent.pid) == 5
        # detach() closed the device, though the agent still runs.
        assert module.users == 0
        agent.communicate("")


def test_an_operator_attaches_an_agent(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("module", "load")[0] == 0
    with start_agent("other", 400) as agent:
        assert agent.stdout
        assert agent.stdout.readline() == "0\n"
        words = ["module", "attach", f"pid:{agent.pid}", "--seconds", "2"]
        assert __main__.main(words) == 0
        agent.kill()
    said = capsys.readouterr().out
    assert "1 thread attached" in said
    assert f" {agent.pid} " in said
    assert "steps that ended" in said
    assert run("module", "unload")[0] == 0


def test_an_operator_hears_that_there_is_no_module(
    run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    assert __main__.main(["module", "attach", "comm:x", "--seconds", "1"]) == 1
    assert "the module is not loaded" in capsys.readouterr().err


def test_more_threads_than_a_file_takes(module: KernelModule) -> None:
    program = (
        "import threading, sys\n"
        "for _ in range(70): threading.Thread(target=sys.stdin.read, daemon=True).start()\n"
        "print(1, flush=True)\nimport time; time.sleep(600)"
    )
    pipe = subprocess.PIPE
    command = [sys.executable, "-c", program]
    with (
        subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as crowd,
        ExitStack() as stack,
    ):
        stack.callback(crowd.kill)
        assert crowd.stdout
        assert crowd.stdout.readline() == "1\n"
        tids = sorted(int(path.name) for path in Path(f"/proc/{crowd.pid}/task").iterdir())
        files = Files()
        stack.callback(files.close)
        for tid in tids:
            files.attach(tid)
        with pytest.raises(FileExistsError):
            files.attach(tids[0])
        assert len(files.attached()) == len(tids) == 71
        assert module.users == 2
        assert all(files.detach(tid) for tid in tids[64:])
        assert module.users == 1
    assert module.users == 0


def test_a_forked_child_does_not_hold_the_device(module: KernelModule) -> None:
    program = (
        f"import os, sys; sys.path.insert(0, {str(TREE)!r}); import agenttune\n"
        "assert agenttune.attach() and agenttune.attach()\n"
        "if os.fork() == 0:\n"
        "    os.close(1); sys.stdin.read(); os._exit(0)\n"
        "print(1, flush=True)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout
        assert parent.stdout.read() == "1\n"
        parent.wait(60)
        # The parent is gone, the child runs on.
        eventually(lambda: module.users == 0, 20)
        parent.communicate("")


PAGE_PROGRAM = r"""
#include "agenttune.h"
#include <stdio.h>

int main(void)
{
	struct agenttune_attached self;
	struct timespec pause = { 0, 10000000 };
	int attached = agenttune_attach(&self), i;

	for (i = 1; i <= 5; i++) {
		agenttune_page_begin(&self, 1000 + (unsigned)i, AGENTTUNE_TOOL, 0, 77);
		nanosleep(&pause, 0);
		agenttune_page_end(&self);
		nanosleep(&pause, 0);
	}
	printf("%d\n", attached);
	fflush(stdout);
	getchar();
	agenttune_detach(&self);
	return 0;
}
"""


def test_page_marks_from_c(module: KernelModule, tmp_path: Path) -> None:
    source = tmp_path / "page.c"
    source.write_text(PAGE_PROGRAM)
    include = f"-I{TREE / 'agenttune/include'}"
    subprocess.run(["gcc", "-O1", include, source, "-o", tmp_path / "page"], check=True)
    with subprocess.Popen(
        [tmp_path / "page"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as agent:
        assert agent.stdout
        assert agent.stdout.readline() == "1\n"
        lines = Path("/sys/kernel/debug/agent_latency/steps").read_text().splitlines()
        mine = [line for line in lines if f" tid={agent.pid} " in line]
        assert [line.split()[0] for line in mine] == [f"step={1000 + i}" for i in range(1, 6)]
        assert all(" kind=tool " in line and " budget_us=77 " in line for line in mine)
        agent.communicate("\n")


def test_the_protocol_is_what_we_speak(module: KernelModule) -> None:
    version, features = info()
    assert version == 1
    assert {"prctl", "block"} <= set(features)


def test_the_registers_are_shown(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert __main__.main(["show", "--x86"]) == 0
    assert "live: needs the module agent_latency" in capsys.readouterr().out
    assert run("module", "load")[0] == 0
    assert __main__.main(["show", "--x86"]) == 0
    said = capsys.readouterr().out
    assert "needs the module" not in said
    # The IDT of every CPU is the same read-only page (idt_setup_apic_and_irq_gates()).
    assert "live: CPU 0-3: base 0xfffffe0000000000, limit 0xfff; entry is through the IDT" in said
    assert "TPR 0x" in said
    assert run("module", "unload")[0] == 0
