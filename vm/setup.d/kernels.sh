# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=bash disable=SC2154
# Guest kernels: Debian's own, unpacked in the cache with their initramfs, never installed.

KERNELS=(6.1 6.12 6.12-rt)
# From vm/build-debug-kernel, where it was run.
DEBUG_KERNEL=6.12-debug
# What the initramfs needs to reach the host's files; all else is loaded from there.
BOOT_MODULES=(virtio_pci virtio_console 9pnet_virtio 9p overlay)

fetch_kernels() {
    local kernel directory
    for kernel in "${KERNELS[@]}" "$DEBUG_KERNEL"; do
        directory=$CACHE/kernels/$kernel
        stamped "kernel-$kernel" "$(initramfs_key)" && [ -f "$directory/initramfs" ] && continue
        # The debug kernel's initramfs follows the others; the kernel has a command of its own.
        [ "$kernel" != "$DEBUG_KERNEL" ] || [ -f "$directory/release" ] || continue
        lock_guests
        [ -f "$directory/release" ] || fetch_kernel "$kernel" "$directory"
        say "building the initramfs of kernel $(< "$directory/release")"
        build_initramfs "$directory"
        stamp "kernel-$kernel" "$(initramfs_key)"
    done
}

initramfs_key() {
    hash_of "$TREE/vm/setup.d/kernels.sh" "$TREE/vm/guest/init"
}

# The plain flavour, or rt where the name says so; never cloud, which has no 9p.
newest_image() {
    local version=${1%-rt} flavour=${1#"${1%-rt}"}
    apt-cache search --names-only \
        "^linux-image-${version//./\\.}\\.[0-9]+[-+][a-z0-9]+$flavour-amd64$" |
        cut -d' ' -f1 | sort -V | tail -n 1
}

fetch_kernel() {
    local kernel=$1 directory=$2 package release work=$2.new
    package=$(newest_image "$kernel")
    [ -n "$package" ] || { update_lists && package=$(newest_image "$kernel"); }
    [ -n "$package" ] || die "apt knows no linux-image-$kernel for amd64"
    say "fetching the guest kernel $package into the cache"
    rm -rf "$work"
    mkdir -p "$work"
    download_package "$package" "$work" || die "apt-get could not download $package"
    release=${package#linux-image-}
    quietly depmod -b "$work" "$release" || die "depmod failed for $release"
    printf '%s\n' "$release" > "$work/release"
    rm -rf "$directory"
    mv "$work" "$directory"
}

# download_package NAME DIRECTORY: unpacks the package there.
download_package() {
    local name=$1 directory=$2 downloads=$CACHE/downloads
    rm -rf "$downloads"
    mkdir -p "$downloads"
    with_fresh_lists env -C "$downloads" apt-get -o APT::Sandbox::User=root download "$name" ||
        return 1
    dpkg -x "$downloads"/*.deb "$directory"
    rm -rf "$downloads"
}

build_initramfs() {
    local directory=$1 file order release root
    release=$(< "$directory/release")
    root=$directory/initramfs.d
    rm -rf "$root"
    mkdir -p "$root/bin" "$root/modules"
    cp "$(command -v busybox)" "$root/bin/busybox"
    install -m 755 "$TREE/vm/guest/init" "$root/init"
    order=0
    while read -r file; do
        order=$((order + 1))
        unpack_module "$file" "$(printf '%s/modules/%02d.ko' "$root" "$order")"
    done < <(boot_modules "$directory" "$release")
    (cd "$root" && find . | busybox cpio -o -H newc 2> /dev/null) > "$directory/initramfs"
    rm -rf "$root"
}

# The module files in the order to load them, each once.
boot_modules() {
    local module
    for module in "${BOOT_MODULES[@]}"; do
        modprobe -d "$1" -S "$2" --show-depends "$module"
    done | awk '$1 == "insmod" && !seen[$2]++ { print $2 }'
}

unpack_module() {
    case $1 in
        *.xz) xz --decompress --stdout "$1" > "$2" ;;
        *.zst) zstd --quiet --decompress --stdout "$1" > "$2" ;;
        *) cp "$1" "$2" ;;
    esac
}
