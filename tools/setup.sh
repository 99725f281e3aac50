# What quickstart, run-tests and the lab share: the Debian packages and the Kafka broker's jars.
# To be sourced by bash. Asks nothing, and does nothing when nothing is missing.

SETUP_ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
SETUP_KAFKA_VERSION=3.9.1
SETUP_KAFKA_DIR=${VIRTBUS_CACHE:-$HOME/.cache/virtbus}/kafka-$SETUP_KAFKA_VERSION

# Prints the packages of packages.txt that are not installed.
setup_missing_packages() {
    comm -23 <(grep -v '^#' "$SETUP_ROOT/packages.txt" | grep . | sort -u) \
        <(dpkg-query -W -f '${db:Status-Status} ${Package}\n' | sed -n 's/^installed //p' | sort -u)
}

# Installs what packages.txt names and the system lacks.
setup_packages() {
    local missing log sudo=() started=$SECONDS
    mapfile -t missing < <(setup_missing_packages)
    ((${#missing[@]})) || return 0
    if ((EUID != 0)); then
        command -v sudo >/dev/null || {
            echo "setup: these packages are missing, and there is neither root nor sudo to install" \
                "them: ${missing[*]}" >&2
            return 1
        }
        sudo=(sudo)
    fi
    echo "Installing ${#missing[@]} packages: ${missing[*]}"
    log=$(mktemp) || return 1
    if "${sudo[@]}" apt-get -q update >"$log" 2>&1 </dev/null &&
        "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -q -y -o DPkg::Lock::Timeout=300 \
            install --no-install-recommends "${missing[@]}" >>"$log" 2>&1 </dev/null; then
        rm -f "$log"
        echo "Installed in $((SECONDS - started)) s"
        return 0
    fi
    tail -n 20 "$log" >&2
    echo "setup: the packages could not be installed; apt's whole output is in $log" >&2
    return 1
}

# Fetches the broker's jars into SETUP_KAFKA_DIR, once. The folder appears whole or not at all
# (made beside it, then renamed), and a lock lets only one of several runs fetch.
setup_kafka() {
    [[ -e $SETUP_KAFKA_DIR/complete ]] && return 0
    mkdir -p "${SETUP_KAFKA_DIR%/*}" || return 1
    (
        flock 9
        [[ -e $SETUP_KAFKA_DIR/complete ]] && exit 0
        echo "Fetching the Kafka $SETUP_KAFKA_VERSION broker (46 MB, once)"
        temporary=$(mktemp -d "$SETUP_KAFKA_DIR.XXXXXX") || exit 1
        trap 'rm -rf "$temporary"' EXIT
        mvn -q -B -C -Dstyle.color=never -f "$SETUP_ROOT/tests/lib/kafka/pom.xml" dependency:copy-dependencies \
            -DincludeScope=runtime -DoutputDirectory="$temporary/libs" </dev/null || {
            echo "setup: Maven could not fetch the Kafka broker; see its message above" >&2
            exit 1
        }
        touch "$temporary/complete"
        rm -rf "$SETUP_KAFKA_DIR"
        mv -T "$temporary" "$SETUP_KAFKA_DIR"
    ) 9>"$SETUP_KAFKA_DIR.lock"
}
