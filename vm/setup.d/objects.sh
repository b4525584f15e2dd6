# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=bash disable=SC2154
# The BPF objects: built in the tree, again only when sources or objects changed.

objects_key() {
    local files
    mapfile -t files < <(find "$TREE/bpf" "$TREE/agenttune/measure/objects" -type f \
        ! -name '*.pyc' 2> /dev/null | LC_ALL=C sort)
    hash_of "${files[@]}"
}

build_objects() {
    local name
    [ -x "$TREE/bpf/build" ] || return 0
    name=objects-$(hash_of "$TREE" | cut -c1-16)
    stamped "$name" "$(objects_key)" && return
    say "building the BPF objects"
    quietly "$TREE/bpf/build" || die "bpf/build failed"
    stamp "$name" "$(objects_key)"
}
