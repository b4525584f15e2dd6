# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=bash disable=SC2154
# QEMU 8.2 or later: this machine's own, else the one in Debian's backports, unpacked in the cache.
# Older ones crash multi-threaded guests while these patch their own text (see vm/README.md).

QEMU_WANTED=8.2
CODENAME=$(. /etc/os-release && printf '%s' "${VERSION_CODENAME:-}")

fetch_qemu() {
    local key
    key=$(hash_of "$TREE/vm/setup.d/qemu.sh" "$CODENAME")
    stamped qemu "$key" && "$CACHE/qemu/qemu" --version > /dev/null 2>&1 && return
    lock_guests
    rm -rf "$CACHE/qemu"
    mkdir -p "$CACHE/qemu"
    if qemu_is_recent; then
        write_launcher /usr
    elif fetch_backport; then
        write_launcher "$CACHE/qemu/root/usr"
    else
        say "no QEMU in backports: taking Debian's; guests then run one vCPU at a time"
        install_packages qemu-system-x86
        write_launcher /usr
    fi
    "$CACHE/qemu/qemu" --version > /dev/null || die "the QEMU in $CACHE/qemu does not start"
    stamp qemu "$key"
}

qemu_is_recent() {
    local version
    version=$(dpkg-query -W -f '${Version}' qemu-system-x86 2> /dev/null) || return 1
    dpkg --compare-versions "$version" ge "1:$QEMU_WANTED"
}

# Everything apt would install goes to the cache instead, so an older QEMU of this machine stays.
fetch_backport() {
    local apt=$CACHE/apt
    local options=(
        -o Dir::Etc::sourcelist=/dev/null -o "Dir::Etc::sourceparts=$apt/sources"
        -o "Dir::State::lists=$apt/lists" -o "Dir::Cache::pkgcache=" -o "Dir::Cache::srcpkgcache="
    )
    say "fetching QEMU from $CODENAME-backports into the cache"
    write_sources "$apt/sources" || return 1
    mkdir -p "$apt/lists/partial"
    quietly apt-get "${options[@]}" update || return 1
    unpack_with_dependencies "$CACHE/qemu/root" qemu-system-x86 "${options[@]}" \
        --target-release "$CODENAME-backports" || return 1
    rm -rf "$apt"
}

# The mirror this machine takes its release from, as apt sees it.
own_mirror() {
    # shellcheck disable=SC2016  # apt fills these in
    apt-get indextargets --format '$(CODENAME) $(REPO_URI)' 'Created-By: Packages' |
        awk -v codename="$CODENAME" '$1 == codename && !seen++ { print $2 }'
}

# This machine's own sources, and the backports suite of the same mirror.
write_sources() {
    local directory=$1 mirror
    mirror=$(own_mirror)
    [ -n "$mirror" ] || { update_lists && mirror=$(own_mirror); }
    [ -n "$mirror" ] || return 1
    rm -rf "$directory"
    mkdir -p "$directory"
    find /etc/apt/sources.list.d -maxdepth 1 \( -name '*.list' -o -name '*.sources' \) \
        -exec cp -t "$directory" {} +
    [ ! -f /etc/apt/sources.list ] || cp /etc/apt/sources.list "$directory/host.list"
    printf 'deb %s %s-backports main\n' "$mirror" "$CODENAME" > "$directory/backports.list"
}

write_launcher() {
    local prefix=$1 launcher=$CACHE/qemu/qemu
    {
        printf '#!/bin/sh\n'
        if [ "$prefix" != /usr ]; then
            # Debian 12 still ships a few libraries below /lib; unpacked they stay there.
            printf 'export LD_LIBRARY_PATH=%s/lib/x86_64-linux-gnu:%s/lib/x86_64-linux-gnu\n' \
                "$prefix" "${prefix%/usr}"
            printf 'export QEMU_MODULE_DIR=%s/lib/x86_64-linux-gnu/qemu\n' "$prefix"
        fi
        printf 'exec %s/bin/qemu-system-x86_64 -L %s/share/qemu -L %s/share/seabios "$@"\n' \
            "$prefix" "$prefix" "$prefix"
    } > "$launcher"
    chmod 755 "$launcher"
}
