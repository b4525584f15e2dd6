# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=bash disable=SC2154
# The Python environment: the distribution's bcc plus what pyproject.toml names.

python_requirements() {
    /usr/bin/python3 - "$TREE/pyproject.toml" <<'END'
import sys
import tomllib

with open(sys.argv[1], "rb") as file:
    project = tomllib.load(file)["project"]
print(*project["dependencies"], *project["optional-dependencies"]["dev"], sep="\n")
END
}

make_venv() {
    local key requirements venv=$CACHE/venv
    key=$(hash_of "$TREE/pyproject.toml" "$(readlink -f /usr/bin/python3)")
    stamped venv "$key" && [ -x "$venv/bin/python" ] && return
    if ! "$venv/bin/python" -m pip --version > /dev/null 2>&1; then
        say "making the Python environment in $venv"
        quietly /usr/bin/python3 -m venv --clear --system-site-packages "$venv" ||
            die "could not make $venv"
    fi
    mapfile -t requirements < <(python_requirements)
    say "installing Python packages: ${requirements[*]}"
    quietly "$venv/bin/python" -m pip install --no-input "${requirements[@]}" ||
        die "pip could not install the packages above"
    stamp venv "$key"
}
