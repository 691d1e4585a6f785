#!/usr/bin/env bash
# Puts generated requests to the API of the stack at RELAY_API_URL, and holds each
# answer to docs/openapi.yaml: no 5xx, and nothing that it does not describe. The
# calls of containers are left out: their answers are the containers' own.
# usage: run.sh SCHEMATHESIS CASES [OPTION…]
set -euo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
schemathesis=$(realpath -s "$1") cases=$2
shift 2
# It leaves a folder of its own where it runs.
mkdir -p "$root/.local/api-fuzz" && cd "$root/.local/api-fuzz"
# How many cases the phase "coverage" has: every bound of every parameter, always
# the same. It is for the runs that have room for it.
coverage=350 phases=examples,fuzzing,stateful generated=$cases
if (( cases > 2 * coverage )); then
  phases=examples,coverage,fuzzing,stateful generated=$(( cases - coverage ))
fi
# --max-examples bounds each of the 10 operations in each of two phases. Four fifths
# of it come out: the lists and the links have fewer cases that differ.
each=$(( (generated + 15) / 16 ))
PYTHONPATH=$root/local/apifuzz PYTHONDONTWRITEBYTECODE=1 SCHEMATHESIS_HOOKS=hooks "$schemathesis" run "$root/docs/openapi.yaml" --url "$RELAY_API_URL" \
  --exclude-path '/containers/{slug}/{path}' --phases "$phases" --max-examples "$each" \
  --checks reached,not_a_server_error,status_code_conformance,content_type_conformance,response_headers_conformance,response_schema_conformance \
  --continue-on-failure --no-shrink --suppress-health-check all --request-timeout 30 --warnings off "$@"
