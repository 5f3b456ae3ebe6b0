#!/usr/bin/env bash
# Make the virtual environment and install minivis into it, editable, with everything its notebooks and tests need.
# Called by make, which skips it while it is up to date. Usage: scripts/setup.sh VENV EXTRAS; PYTHON=... picks one.
set -euo pipefail
venv=$1
extras=$2

say() { printf '==> %s\n' "$*"; }
die() { printf 'minivis: %s\n' "$@" >&2; exit 1; }
fits() { "$1" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' >/dev/null 2>&1; }
version() { "$1" -c 'import platform; print(platform.python_version())' 2>/dev/null; }

find_python() { # prints the first Python that fits; plain python3 comes first, because the user chose it
    local candidate
    for candidate in python3 python3.13 python3.12 python3.11 python; do
        if fits "$candidate"; then echo "$candidate"; return; fi
    done
    return 1
}

make_venv() {
    local python=${PYTHON:-}
    if [ -n "$python" ]; then
        fits "$python" || die "PYTHON=$python is $(version "$python" || echo 'not a Python'); minivis needs 3.11, 3.12 or 3.13"
    elif ! python=$(find_python); then
        if command -v uv >/dev/null; then
            python=3.13 # uv finds or fetches it
        else
            die "needs Python 3.11, 3.12 or 3.13; python3 here is $(version python3 || echo 'missing')." \
                "Install one (apt install python3 python3-venv, brew install python@3.13, or python.org)," \
                "or name one: make PYTHON=/path/to/python3.12 lab"
        fi
    fi
    if command -v uv >/dev/null; then
        say "making $venv with uv (Python: $python)"
        uv venv --quiet --seed --clear --python "$python" "$venv"
    else
        say "making $venv (Python $(version "$python"))"
        "$python" -m venv --clear "$venv" ||
            die "$python could not make a virtual environment. On Debian and Ubuntu: apt install python3-venv"
    fi
}

[ -x "$venv/bin/python" ] && fits "$venv/bin/python" && "$venv/bin/python" -m pip --version >/dev/null 2>&1 || make_venv

say "installing minivis[$extras] into $venv: a minute or two the first time"
if command -v uv >/dev/null; then
    uv pip install --python "$venv/bin/python" --editable ".[$extras]"
else
    log=$venv/install.log # one line a package on the screen, all of it in the log
    "$venv/bin/python" -m pip install --disable-pip-version-check --no-input --progress-bar off --log "$log" \
        --editable ".[$extras]" | sed -u -n -E 's/^(Collecting [^ ]+).*/\1/p; s/^(Installing) .*/\1 .../p' ||
        die "the installation failed; the whole log: $log"
fi

case ${SHELL:-} in # each kind of shell has its own activation script
    */fish) activate=activate.fish ;;
    */csh | */tcsh) activate=activate.csh ;;
    *) activate=activate ;;
esac
say "done. To use minivis in a shell, type first: source $venv/bin/$activate"
