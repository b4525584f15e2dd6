# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=bash disable=SC2154
# Messages, stamps and the set-up lock.

say() {
    printf '[setup %3ds] %s\n' "$SECONDS" "$*"
}

die() {
    printf 'vm/setup: %s\n' "$*" >&2
    exit 1
}

# One set-up at a time; the lock goes with the process.
lock_setup() {
    exec 9> "$CACHE/setup.lock"
    flock --nonblock 9 || { say "waiting for another set-up to finish" && flock 9; }
}

# No guest may start or run while its QEMU or kernel changes: the lock of vm/run, kept to the end.
lock_guests() {
    [ ! -e "/proc/$$/fd/8" ] || return 0
    exec 8> "$CACHE/vm.lock"
    flock --nonblock 8 || { say "waiting for a guest to finish" && flock 8; }
}

# quietly COMMAND...: shows the output only when the command fails.
quietly() {
    local log=$CACHE/setup.log
    "$@" > "$log" 2>&1 8>&- 9>&- || {
        tail -n 30 "$log" >&2
        return 1
    }
}

# hash_of STRING-OR-FILE...: one key for all of them; a file counts by its content.
hash_of() {
    local item
    for item in "$@"; do
        if [ -f "$item" ]; then cat "$item"; else printf '%s\n' "$item"; fi
    done | sha256sum | cut -d' ' -f1
}

stamped() {
    [ -f "$STAMPS/$1" ] && [ "$(< "$STAMPS/$1")" = "$2" ]
}

stamp() {
    printf '%s\n' "$2" > "$STAMPS/$1"
}
