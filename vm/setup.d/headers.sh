# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=bash disable=SC2154
# Headers in the cache: bcc compiles against those of a guest's kernel, kbuild builds the module for
# each flavour. Nothing is installed, and nothing of this machine's /usr/src is read.

# Flavours that no guest boots; the module has to build for them all the same.
HEADERS_ONLY=(6.1-cloud 6.1-rt 6.12-cloud)

fetch_headers() {
    local kernel key directory release
    for kernel in "${KERNELS[@]}" "${HEADERS_ONLY[@]}"; do
        directory=$CACHE/kernels/$kernel
        release=$(headers_release "$kernel")
        key=$(hash_of "$TREE/vm/setup.d/headers.sh" "$release")
        stamped "headers-$kernel" "$key" && [ -e "$directory/lib/modules/$release/build" ] && continue
        say "fetching the headers of kernel $release into the cache"
        unpack_headers "$directory" "$release"
        stamp "headers-$kernel" "$key"
    done
}

# A flavour's release is that of the plain kernel of its version, with the flavour's name in it.
headers_release() {
    local directory=$CACHE/kernels/$1 plain
    if [[ " ${KERNELS[*]} " = *" $1 "* ]]; then
        cat "$directory/release"
        return
    fi
    plain=$(< "$CACHE/kernels/${1%%-*}/release")
    printf '%s-%s-amd64\n' "${plain%-amd64}" "${1#*-}"
}

unpack_headers() {
    local directory=$1 release=$2 package base common kbuild
    base=${release%-amd64}
    base=${base%-rt}
    base=${base%-cloud}
    common=$base-common
    [[ $release != *-rt-amd64 ]] || common=$common-rt
    kbuild=$base
    # Debian 12's own 6.1 has one kbuild package for all its builds.
    [[ $release != 6.1.* ]] || kbuild=6.1
    for package in "linux-headers-$release" "linux-headers-$common" "linux-kbuild-$kbuild"; do
        download_package "$package" "$directory" ||
            die "apt-get could not download $package: when apt has only newer ones," \
                "remove $CACHE/kernels and run this again"
    done
    # The packages' own links lead to /usr/src, which is this machine's.
    sed -i "s,^include /usr/src/,include $directory/usr/src/," \
        "$directory/usr/src/linux-headers-$release/Makefile"
    ln -sfn "$directory/usr/src/linux-headers-$release" "$directory/lib/modules/$release/build"
    ln -sfn "$directory/usr/src/linux-headers-$common" "$directory/lib/modules/$release/source"
    printf '%s\n' "$release" > "$directory/release"
}
