# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=bash disable=SC2154
# irqbalance for tests inside a guest: unpacked in the cache, never installed or run on this machine.

fetch_irqbalance() {
    local directory=$CACHE/irqbalance
    [ -x "$directory/irqbalance" ] && return
    say "fetching irqbalance into the cache"
    rm -rf "$directory"
    unpack_with_dependencies "$directory/root" irqbalance ||
        die "apt-get could not download irqbalance"
    {
        printf '#!/bin/sh\nexport LD_LIBRARY_PATH=%s/root/usr/lib/x86_64-linux-gnu' "$directory"
        printf ':%s/root/lib/x86_64-linux-gnu\n' "$directory"
        printf 'exec %s/root/usr/sbin/irqbalance "$@"\n' "$directory"
    } > "$directory/irqbalance"
    chmod 755 "$directory/irqbalance"
}
