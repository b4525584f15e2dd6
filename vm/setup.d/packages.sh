# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=bash disable=SC2034
# Debian packages, by name.

BASE_PACKAGES=(
    bpftool ca-certificates clang gcc git iproute2 kmod libbpf-dev libbpf1 libc6-dev linux-perf llvm
    procps python3 python3-bpfcc python3-venv shellcheck strace util-linux
)
LAB_PACKAGES=(busybox-static dwarves kmod libelf1 lld make perl sparse tar xz-utils zstd)

missing_packages() {
    local package
    for package in "$@"; do
        [ "$(dpkg-query -W -f '${db:Status-Status}' "$package" 2> /dev/null)" = installed ] ||
            printf '%s\n' "$package"
    done
}

all_installed() {
    local states
    states=$(dpkg-query -W -f '${db:Status-Status}\n' "$@" 2> /dev/null) || return 1
    ! grep -qvx installed <<< "$states"
}

update_lists() {
    say "reading the package lists (apt-get update)"
    quietly apt-get update || die "apt-get update failed: check this machine's apt sources"
}

# with_fresh_lists COMMAND...: tries with the lists as they are, then once more with new ones.
with_fresh_lists() {
    quietly "$@" 2> /dev/null && return
    update_lists
    quietly "$@"
}

install_packages() {
    all_installed "$@" && return
    local missing
    mapfile -t missing < <(missing_packages "$@")
    say "installing Debian packages: ${missing[*]}"
    forbid_services
    DEBIAN_FRONTEND=noninteractive with_fresh_lists \
        apt-get install --yes --no-install-recommends "${missing[@]}" ||
        die "apt-get could not install: ${missing[*]}"
    allow_services
}

# Package scripts ask policy-rc.d before they start a service; 101 is 'do not' (Debian policy 9.3.3).
POLICY=/usr/sbin/policy-rc.d
forbid_services() {
    [ -e "$POLICY" ] && return
    trap allow_services EXIT
    printf '#!/bin/sh\n# Written by agenttune vm/setup for the time of one apt-get run.\nexit 101\n' > "$POLICY"
    chmod 755 "$POLICY"
}

allow_services() {
    if grep -qs 'Written by agenttune vm/setup' "$POLICY"; then rm -f "$POLICY"; fi
}

# unpack_with_dependencies DIRECTORY PACKAGE [APT-OPTION...]: the package, and all this machine
# lacks to run it, unpacked in DIRECTORY instead of installed.
unpack_with_dependencies() {
    local directory=$1 name=$2 package downloads=$CACHE/downloads
    shift 2
    rm -rf "$downloads"
    mkdir -p "$downloads/partial" "$directory"
    with_fresh_lists apt-get -o "Dir::Cache::archives=$downloads" -o APT::Sandbox::User=root \
        -o Binary::apt-get::APT::Keep-Downloaded-Packages=true "$@" \
        --yes --no-install-recommends --download-only --reinstall install "$name" || return 1
    for package in "$downloads"/*.deb; do
        dpkg -x "$package" "$directory"
    done
    rm -rf "$downloads"
}
