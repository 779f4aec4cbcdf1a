#!/usr/bin/env bash
# Installs what is missing: Debian's packages (as root) and the project's virtual environment. Idempotent and quick
# when nothing is missing.
set -euo pipefail
cd "$(dirname "$0")/.."
packages=(containerd runc crun iptables nftables ipset conntrack containernetworking-plugins busybox-static
  slirp4netns iproute2 e2fsprogs procps util-linux python3-venv docker-registry etcd-server etcd-client nghttp2-client
  nginx-light)
missing=()
for package in "${packages[@]}"; do
  [ "$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null)" = installed ] || missing+=("$package")
done
if [ ${#missing[@]} -gt 0 ]; then
  if [ "$(id -u)" -ne 0 ]; then
    echo "missing Debian packages: ${missing[*]}; install them as root: apt-get install ${missing[*]}" >&2
    exit 1
  fi
  echo "installing ${missing[*]}"
  # Packages that start a service on installation must not start it here.
  policy=/usr/sbin/policy-rc.d
  if [ ! -e "$policy" ]; then
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod +x "$policy"
    trap 'rm -f "$policy"' EXIT
  fi
  apt-get update -q >/dev/null
  DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "${missing[@]}" >/dev/null
fi
stamp=.venv/.installed
if [ ! -e "$stamp" ] || [ pyproject.toml -nt "$stamp" ]; then
  echo "installing the Python environment into .venv"
  "${PYTHON:-python3}" -m venv .venv
  .venv/bin/pip install --quiet --disable-pip-version-check -e '.[cluster,dev]'
  touch "$stamp"
fi
