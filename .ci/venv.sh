# Sourced by ./check and ./demo from the project's root: the one virtual environment.
# It is installed again only when what it is made of has changed.

# Where it is: .venv, or what ACTORFLOW_VENV says.
venv=${ACTORFLOW_VENV:-.venv}
case $venv in
/*) ;;
*) venv=$PWD/$venv ;;
esac
python=$venv/bin/python

# The first Python that is new enough; PYTHON=... names another one.
find_python() {
    for candidate in "${PYTHON:-python3}" python3.14 python3.13 python3.12 python3.11; do
        if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            echo "$candidate"
            return
        fi
    done
    echo "actorflow needs Python 3.11 or later; PYTHON=/path/to/python names one" >&2
    return 1
}

# can_apt: true where system packages can be installed without asking anybody.
can_apt() {
    [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1
}

# apt_install PACKAGE: quiet; its failure is the caller's to judge.
apt_install() {
    { apt-get install -qq -y --no-install-recommends "$1" || {
        apt-get update -qq && apt-get install -qq -y --no-install-recommends "$1"
    }; } >/dev/null 2>&1
}

make_venv() {
    found=$(find_python) || return 1
    echo "making a virtual environment in $venv" >&2
    "$found" -m venv "$venv" >/dev/null 2>&1 && return
    # Debian and Ubuntu ship python3 without ensurepip.
    if can_apt && apt_install python3-venv && "$found" -m venv --clear "$venv"; then
        return
    fi
    echo "$found can't make a virtual environment; on Debian and Ubuntu: apt-get install python3-venv" >&2
    return 1
}

# install_project EXTRA: the project, editable, with this extra (cli or dev) and the constrained versions.
install_project() {
    [ -x "$python" ] || make_venv || return 1
    stamp=$venv/installed-$1
    wanted=$(printf '%s ' "$PWD"; cat pyproject.toml constraints.txt | cksum)
    if [ "$(cat "$stamp" 2>/dev/null)" = "$wanted" ]; then
        return 0
    fi
    echo "installing actorflow[$1] into $venv" >&2
    rm -f "$stamp"
    "$python" -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[$1]" || return 1
    echo "$wanted" >"$stamp"
}
