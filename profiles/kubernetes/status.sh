#!/usr/bin/env bash
# What Snakemake wants to know of a Job of Kubernetes: running, success or failed.
set -u
if state=$(kubectl get job "$1" -o 'jsonpath={.status.conditions[?(@.status=="True")].type}' 2>&1); then
  case " $state " in
    *" Complete "*) echo success ;;
    *" Failed "*) echo failed ;;
    *) echo running ;;
  esac
elif [[ "$state" != *NotFound* ]]; then # the cluster does not answer: the job may well be running
  echo "$state" >&2
  echo running
elif [[ -n "$(kubectl get pods --selector="job-name=$1" --output=name)" ]]; then # deleted, and on its way out
  echo running
else
  echo failed
fi
