#!/usr/bin/env bash
# What Snakemake wants to know of a job of Slurm: running, success or failed.
set -u
if state=$(squeue --noheader --states=all --jobs="$1" --format=%T 2>&1); then
  case "$state" in
    COMPLETED) echo success ;;
    BOOT_FAIL | CANCELLED | DEADLINE | FAILED | NODE_FAIL | OUT_OF_MEMORY | REVOKED | TIMEOUT) echo failed ;;
    "") echo failed ;; # forgotten, or never there
    *) echo running ;; # also while it waits, ends, or is queued again after a preemption
  esac
elif [[ "$state" == *"Invalid job id"* ]]; then
  echo failed
else # Slurm does not answer: the job may well be running
  echo "$state" >&2
  echo running
fi
