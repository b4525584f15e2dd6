# SPDX-License-Identifier: GPL-2.0-only
"""Building the module: what is missing is named, a failure shows its log, sources are complete."""

from __future__ import annotations

import re
import shutil
import stat
import subprocess
from pathlib import Path

import pytest
from module_host import make_ko

from agenttune import __main__
from agenttune.change import loader, module_build
from agenttune.errors import HostError, InputError
from agenttune.host.modinfo import read_modinfo
from agenttune.host.module import headers_remedy
from agenttune.host.tree import Tree

TREE = Path(__file__).parent.parent
RELEASE = "6.12.0-test"
MAKE = """\
#!/bin/sh
# A make that answers as kbuild does: M=DIR names the sources.
for word in "$@"; do case $word in M=*) sources=${word#M=} ;; esac; done
[ "$CFLAGS" = "" ] || exit 9
[ -f "$sources/../bpf/stages.h" ] || { echo "stages.h: no such file"; exit 2; }
[ -z "$FAIL" ] && [ ! -e {marker} ] || { seq 100; echo "error: it does not compile"; exit 2; }
cp {ko} "$sources/agent_latency.ko"
"""


@pytest.fixture
def tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of tools, the only one on PATH beside the system's for a shell's own."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in ("sh", "cp", "seq"):
        (folder / name).symlink_to(str(shutil.which(name)))
    ko = tmp_path / "made.ko"
    ko.write_bytes(make_ko(f"{RELEASE} SMP "))
    script = MAKE.replace("{marker}", str(tmp_path / "fail")).replace("{ko}", str(ko))
    for name, text in (("make", script), ("gcc", ""), ("ld", "")):
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.setenv("CFLAGS", "-march=native")
    return folder


@pytest.fixture
def headers(tmp_path: Path) -> Path:
    folder = tmp_path / "headers"
    (folder / "include/config").mkdir(parents=True)
    (folder / "Makefile").touch()
    return folder


def test_a_build_is_named_by_its_kernel(tools: Path, headers: Path, tmp_path: Path) -> None:
    done = module_build.build(RELEASE, headers=headers, into=tmp_path / "out")
    made = tmp_path / f"out/{RELEASE}/agent_latency.ko"
    assert (done.path, done.release, done.signed) == (str(made), RELEASE, False)
    assert stat.S_IMODE(made.stat().st_mode) == 0o644
    assert sorted(path.name for path in made.parent.iterdir()) == ["agent_latency.ko", "build.log"]


def test_a_failed_build_shows_the_end_of_its_log(
    tools: Path, headers: Path, tmp_path: Path
) -> None:
    module_build.build(RELEASE, headers=headers, into=tmp_path / "out")
    (tmp_path / "fail").touch()
    with pytest.raises(HostError) as caught:
        module_build.build(RELEASE, headers=headers, into=tmp_path / "out")
    assert "error: it does not compile" in caught.value.message
    assert "\n  10\n" not in caught.value.message
    assert f"{tmp_path}/out/{RELEASE}/build.log" in caught.value.hint
    # The earlier build is still there.
    assert (tmp_path / f"out/{RELEASE}/agent_latency.ko").exists()


@pytest.mark.parametrize(
    ("without", "message", "hint"),
    [
        ("make", "make is not installed", "make"),
        ("gcc", "built with gcc, but gcc is not installed", "gcc"),
        ("ld", "ld is not installed", "binutils"),
    ],
)
def test_missing_tools_are_named(
    tools: Path, headers: Path, tmp_path: Path, without: str, message: str, hint: str
) -> None:
    (tools / without).unlink()
    with pytest.raises(HostError, match=message) as caught:
        module_build.build(RELEASE, headers=headers, into=tmp_path / "out")
    assert hint in caught.value.hint


def test_a_kernel_of_clang_wants_clang(tools: Path, headers: Path, tmp_path: Path) -> None:
    (headers / "include/config/auto.conf").write_text("CONFIG_CC_IS_CLANG=y\n")
    with pytest.raises(HostError, match=r"clang and ld\.lld"):
        module_build.build(RELEASE, headers=headers, into=tmp_path / "out")


def test_another_kernels_headers_are_refused(tools: Path, headers: Path, tmp_path: Path) -> None:
    with pytest.raises(HostError, match=r"is for kernel 6\.12\.0-test, not 6\.1\.0"):
        module_build.build("6.1.0", headers=headers, into=tmp_path / "out")
    assert not (tmp_path / "out/6.1.0/agent_latency.ko").exists()


def test_missing_headers_name_the_package(capsys: pytest.CaptureFixture[str]) -> None:
    assert __main__.main(["module", "build", "--kernel", "1.2.3-none"]) == 1
    said = capsys.readouterr().err
    assert "the headers of kernel 1.2.3-none are not installed" in said
    assert "hint: Install " in said


@pytest.mark.parametrize(
    ("release_file", "package"),
    [
        ("ID=debian\n", "linux-headers-6.12"),
        ("ID=ubuntu\nID_LIKE=debian\n", "linux-headers-6.12"),
        ('ID="rocky"\nID_LIKE="rhel centos fedora"\n', "kernel-devel-6.12"),
        ("ID=none\n", "headers of kernel 6.12"),
        (None, "headers of kernel 6.12"),
    ],
)
def test_packages_by_distribution(tmp_path: Path, release_file: str | None, package: str) -> None:
    if release_file is not None:
        (tmp_path / "etc").mkdir()
        (tmp_path / "etc/os-release").write_text(release_file)
    assert package in headers_remedy(Tree(tmp_path), "6.12")


def test_the_sources_are_complete(tmp_path: Path) -> None:
    """Every file that another includes by name is in the copy, at the place Kbuild looks."""
    module_build.write_sources(tmp_path)
    copied = {path.relative_to(tmp_path) for path in tmp_path.rglob("*") if path.is_file()}
    assert Path("kmod/Kbuild") in copied
    for file in copied:
        text = (tmp_path / file).read_text()
        for name in re.findall(r'^#include "([^"]+)"', text, re.MULTILINE):
            places = [file.parent / name, Path("kmod") / name, Path("bpf") / name]
            assert any(place in copied for place in places), f"{file} includes {name}"
    objects = re.findall(r"\b(\w+)\.o\b", (tmp_path / "kmod/Kbuild").read_text())
    assert len(objects) > 2
    for name in set(objects) - {"agent_latency"}:
        assert Path(f"kmod/{name}.c") in copied


def test_a_tree_for_dkms(tmp_path: Path) -> None:
    assert __main__.main(["module", "build", "--dkms-tree", str(tmp_path / "src")]) == 0
    text = (tmp_path / "src/dkms.conf").read_text()
    subprocess.run(["sh", "-n", tmp_path / "src/dkms.conf"], check=True)
    version = re.search(r'^PACKAGE_VERSION="(.*)"$', text, re.MULTILINE)
    source = re.search(r'MODULE_VERSION\("(.*)"\)', (tmp_path / "src/kmod/main.c").read_text())
    assert version
    assert source
    assert version[1] == source[1]
    with pytest.raises(InputError, match="is not empty"):
        module_build.write_dkms_tree(tmp_path / "src")


def test_modinfo_reads_what_is_there(tmp_path: Path) -> None:
    module = tmp_path / "x.ko"
    module.write_bytes(make_ko("6.12.0 SMP ", signed=True))
    found = read_modinfo(module)
    assert found is not None
    assert (found.release, found.version, found.signed) == ("6.12.0", "0.1.0", True)


@pytest.mark.parametrize("keep", [0, 5, 63, 70, 150, 260])
def test_a_damaged_module_is_none(tmp_path: Path, keep: int) -> None:
    module = tmp_path / "x.ko"
    module.write_bytes(make_ko("6.12.0 SMP ")[:keep])
    assert read_modinfo(module) is None
    assert read_modinfo(tmp_path / "none.ko") is None


def test_a_file_that_others_may_write_is_not_loaded(tmp_path: Path) -> None:
    module = tmp_path / "x.ko"
    module.write_bytes(make_ko("6.12.0 SMP "))
    module.chmod(0o666)
    with pytest.raises(HostError, match="root alone may write"):
        loader.load(module)
    link = tmp_path / "link.ko"
    link.symlink_to(module)
    with pytest.raises(OSError):
        loader.load(link)
