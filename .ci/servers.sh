# Sourced by ./check after .ci/venv.sh: the servers that the tests of buckets start, where they can be installed.
#
#   Ceph      a real S3 server       from apt    the daemons are started by the tests, not by the system
#   Azurite   Azure's blob service   from npm    into the virtual environment
#
# moto and the client libraries come with the dev extra. What is missing makes tests skip, and they say so.

# install_packages PACKAGE...: all of them, or false.
install_packages() {
    can_apt || return 1
    for package in "$@"; do
        # apt gives up its rights to download, and then needs a folder for temporary files that all may write to.
        (TMPDIR=/var/tmp && export TMPDIR && apt_install "$package") || return 1
    done
}

install_ceph() {
    command -v ceph-mon >/dev/null && command -v ceph-osd >/dev/null && command -v radosgw >/dev/null && return
    echo "installing Ceph for the tests of S3" >&2
    install_packages ceph-mon ceph-osd radosgw ceph-common
}

install_azurite() {
    [ -x "$venv/azurite/node_modules/.bin/azurite-blob" ] && return
    # The node that pyright brings has no npm.
    command -v npm >/dev/null || install_packages nodejs npm || return 1
    echo "installing Azurite for the tests of Azure" >&2
    npm install --silent --no-save --prefix "$venv/azurite" azurite@3.35.0 >/dev/null 2>&1
}

install_servers() {
    install_ceph || echo "Ceph could not be installed: the tests on a real S3 server skip" >&2
    install_azurite || echo "Azurite could not be installed: the tests on Azure's blob service skip" >&2
}
