#!/usr/bin/env bash
# Makes a Job of Kubernetes from job.yaml and prints its name: submit.sh RULE ACCELERATORS THREADS MEMORY SCRATCH SCRIPT
set -euo pipefail
job=$(<"$(dirname "$0")/job.yaml")
[[ "$2" != 0 ]] || job=$(grep -v '# accelerator$' <<<"$job")
names=(RULE ACCELERATORS THREADS MEMORY SCRATCH SCRIPT)
values=("${1//_/-}" "${@:2}")
for index in "${!names[@]}"; do
  job=${job//"{${names[index]}}"/"${values[index]}"}
done
created=$(kubectl create --filename=- --output=name <<<"$job")
echo "${created##*/}"
