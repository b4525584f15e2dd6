# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=bash disable=SC2154
# The guest kernels' headers, which bcc compiles against, beside their kernels in the cache.

fetch_headers() {
    local kernel directory release package
    for kernel in "${KERNELS[@]}"; do
        directory=$CACHE/kernels/$kernel
        release=$(< "$directory/release")
        [ -e "$directory/lib/modules/$release/source/include" ] && continue
        say "fetching the headers of kernel $release into the cache"
        for package in "$release" "${release%-amd64}-common"; do
            download_package "linux-headers-$package" "$directory" ||
                die "apt-get could not download linux-headers-$package"
        done
        # The packages' links lead to /usr/src, which is the host's: bcc follows these two.
        ln -sfn "$directory/usr/src/linux-headers-$release" "$directory/lib/modules/$release/build"
        ln -sfn "$directory/usr/src/linux-headers-${release%-amd64}-common" \
            "$directory/lib/modules/$release/source"
    done
}
