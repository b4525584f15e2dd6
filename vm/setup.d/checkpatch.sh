# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=bash disable=SC2154
# The kernel's own style checker, which Debian has in linux-source only.

CHECKPATCH_SOURCE=linux-source-6.12
CHECKPATCH_FILES=(checkpatch.pl const_structs.checkpatch spelling.txt)

fetch_checkpatch() {
    local directory=$CACHE/checkpatch key archive file members=()
    key=$(hash_of "$TREE/vm/setup.d/checkpatch.sh")
    stamped checkpatch "$key" && return
    say "fetching checkpatch.pl from $CHECKPATCH_SOURCE into the cache"
    rm -rf "$directory"
    mkdir -p "$directory"
    download_package "$CHECKPATCH_SOURCE" "$directory/source" ||
        die "apt-get could not download $CHECKPATCH_SOURCE"
    archive=$directory/source/usr/src/$CHECKPATCH_SOURCE.tar.xz
    for file in "${CHECKPATCH_FILES[@]}"; do
        members+=("$CHECKPATCH_SOURCE/scripts/$file")
    done
    quietly tar -C "$directory" --strip-components=2 -xf "$archive" "${members[@]}" ||
        die "$archive has no checkpatch.pl"
    rm -rf "${directory:?}/source"
    stamp checkpatch "$key"
}
