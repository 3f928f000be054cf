#!/usr/bin/env bash
# Installs what the tests of clusters start, as far as it is missing: Debian's Slurm, munge and kubectl.
set -euo pipefail
PATH=$PATH:/usr/sbin:/sbin
missing=()
for pair in slurmctld:slurm-wlm sbatch:slurm-client munged:munge kubectl:kubernetes-client; do
  command -v "${pair%:*}" >/dev/null || missing+=("${pair#*:}")
done
[[ ${#missing[@]} -gt 0 ]] || exit 0
if ! command -v apt-get >/dev/null; then
  echo "Install ${missing[*]} (so Debian calls them): the tests that need them are skipped" >&2
elif [[ $(id -u) == 0 ]]; then
  apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "${missing[@]}"
elif command -v sudo >/dev/null && sudo -n true 2>/dev/null; then
  sudo apt-get update -qq && sudo DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "${missing[@]}"
else
  echo "apt-get install ${missing[*]}, as root: the tests that need them are skipped" >&2
fi
