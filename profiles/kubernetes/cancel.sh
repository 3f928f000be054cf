#!/usr/bin/env bash
# Deletes Jobs of Kubernetes; Snakemake waits for two seconds, so that this goes on without it.
setsid kubectl delete job --ignore-not-found --wait=false "$@" >/dev/null 2>&1 </dev/null &
