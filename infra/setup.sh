#!/usr/bin/env bash
# Makes .venv ready, and does nothing if it is. `infra/setup.sh` installs what Longtake's commands
# need, `infra/setup.sh dev` what its tests need, too; nothing of that is ever taken away again.
#
# Needs one of uv, python3 with pip or venv, or apt-get with root's rights. All it makes lies in this
# checkout: uv in .uv/ (if the machine has none), everything else in .venv/.
set -euo pipefail

extra=${1:-cli}
if [[ $extra != cli && $extra != dev ]]; then
    printf 'set-up: wanted cli or dev, got %s\n' "$extra" >&2
    exit 2
fi
root=$(cd "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/.." && pwd -P)
stamp="$root/.venv/.longtake-setup"
stamped_root='' stamped_extra=''
if [[ -f $stamp ]]; then
    { IFS= read -r stamped_root && IFS= read -r stamped_extra; } <"$stamp" || true
    # What the tests need stays. (Stamps of older versions name no extra: they installed all.)
    [[ $stamped_extra == cli ]] || extra=dev
fi
# What the environment is made from. The path, too: an environment does not survive being moved.
wanted="$root"$'\n'"$extra"$'\n'"$(<"$root/pyproject.toml")"

if [[ -f $stamp && "$(<"$stamp")" == "$wanted" ]]; then
    exit 0
fi

say() { printf 'set-up: %s\n' "$*" >&2; }
die() {
    say "$*"
    exit 1
}
have() { command -v "$1" >/dev/null 2>&1; }

as_root() { if [[ $EUID == 0 ]]; then "$@"; else sudo -n "$@"; fi; }

apt_install() {
    have apt-get || return 1
    [[ $EUID == 0 ]] || { have sudo && sudo -n true 2>/dev/null; } || return 1
    say "installing $* with apt-get"
    as_root apt-get update -qq >&2 || say "apt-get update failed; trying with the lists that are here"
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >&2
}

# pyproject.toml builds sam2 with `extra-build-variables`, which older uv does not know.
uv_is_new_enough() {
    local version major minor
    version=$("$1" --version 2>/dev/null) || return 1
    [[ $version =~ ^uv\ ([0-9]+)\.([0-9]+)\. ]] || return 1
    major=${BASH_REMATCH[1]} minor=${BASH_REMATCH[2]}
    ((major > 0 || minor >= 9))
}

find_uv() {
    local candidate
    for candidate in "$(command -v uv || true)" "$root/.uv/ready/bin/uv"; do
        if [[ -n $candidate ]] && uv_is_new_enough "$candidate"; then
            uv=$candidate
            return 0
        fi
    done
    return 1
}

# Into a private folder: Debian and Ubuntu refuse pip outside of one (PEP 668).
pip_uv() {
    local new="$root/.uv/new-$$"
    rm -rf "$root/.uv"
    mkdir -p "$root/.uv"
    if python3 -m pip --version >/dev/null 2>&1; then
        PIP_USER=0 PIP_ROOT_USER_ACTION=ignore python3 -m pip install --quiet --disable-pip-version-check \
            --target "$new" uv >&2 || return 1
    elif python3 -m venv "$new" >/dev/null 2>&1; then
        "$new/bin/python" -m pip install --quiet --disable-pip-version-check uv >&2 || return 1
    else
        rm -rf "$new"
        return 2
    fi
    mv "$new" "$root/.uv/ready"
}

get_uv() {
    local packages=(python3 python3-venv) code=0
    say "fetching uv into $root/.uv"
    if ! have python3; then
        apt_install "${packages[@]}" ||
            die "there is neither uv nor python3 here; install them (sudo apt-get install -y ${packages[*]}) and run this again"
    fi
    pip_uv || code=$?
    if [[ $code == 2 ]]; then
        apt_install "${packages[@]}" ||
            die "python3 has neither pip nor venv; install one (sudo apt-get install -y ${packages[*]}) and run this again"
        code=0
        pip_uv || code=$?
    fi
    [[ $code == 0 ]] || die "pip could not fetch uv; see above, and check the network"
    find_uv || die "the uv that pip fetched does not run here; install uv 0.9 or newer by yourself"
}

python_is_here() { "$uv" python find >/dev/null 2>&1; }

find_python() {
    local needs here
    python_is_here && return 0
    if ! have python3 && apt_install python3 && python_is_here; then
        return 0
    fi
    needs=$(sed -n 's/^requires-python *= *"\(.*\)".*/\1/p' pyproject.toml)
    here=$(python3 --version 2>&1 || true)
    say "no Python $needs on the PATH; trying uv's own"
    "$uv" python install >/dev/null 2>&1 && python_is_here && return 0
    die "Longtake needs Python $needs, but this machine has ${here:-none}; install a newer one and run this again"
}

cd "$root"
# An environment that somebody is in, or keeps elsewhere, is not ours to change.
unset VIRTUAL_ENV
export UV_PROJECT_ENVIRONMENT="$root/.venv"

# Bytecode of the modules that a start imports, so that the first one does not wait for it without a
# word. They are a sixth of what is installed: all of it takes twenty minutes on a busy machine.
compile_start() {
    local module
    say "compiling what a start needs (a minute or two):"
    for module in flows.cli flows.commands.run_local flows.segment_video prefect.server.api.server; do
        say "  $module"
        PYTHONDONTWRITEBYTECODE='' "$root/.venv/bin/python" -c "import $module" >&2 || return 1
    done
}

find_uv || get_uv
find_python
if [[ -f $stamp ]]; then
    if [[ $stamped_root != "$root" ]]; then
        say "this checkout was moved; making .venv anew"
        "$uv" venv --quiet --clear "$root/.venv" >&2
    fi
    # Until the end: what it was to have, and no more, so that the next try begins again.
    printf '%s\n%s\n' "$root" "$extra" >"$stamp"
fi
say "installing Longtake and what it needs into .venv (the first time: some minutes, about 6 GB)"
"$uv" sync --extra "$extra" >&2 ||
    die "the installation failed; see above, check network and disk space, and run this again"
if [[ -d flows ]]; then
    compile_start || die "it is installed, but does not start; see above, and run this again"
fi
printf '%s\n' "$wanted" >"$stamp"
say "done"
