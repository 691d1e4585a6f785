#!/bin/sh
# The quickstart with curl: discover, run, listen, poll, result, download.
# Usage: BASE_URL=http://127.0.0.1:…/api/v1 KEY=sk-local-… [OUT=picture.png] quickstart.sh
set -eu
: "${BASE_URL:?the service, with /api/v1}" "${KEY:?the key}"
OUT=${OUT:-quickstart.png}
call() { curl --silent --show-error --fail-with-body -H "Authorization: Bearer $KEY" "$@"; }
# field NAME: the first string of that name in the JSON on standard input.
field() { sed -n 's/.*"'"$1"'": *"\([^"]*\)".*/\1/p' | head -n 1; }

echo "1. discover"
call "$BASE_URL/r/workflows?per_page=100" | tr ',' '\n' | grep '"workflow_slug"'
call "$BASE_URL/r/workflows/slug/text-to-image" >/dev/null

echo "2. run"
task=$(call -H 'Content-Type: application/json' -d '{"parameters":{"prompt":"a sunset over mountains, 4k","steps":30}}' \
  "$BASE_URL/r/workflows/slug/text-to-image/run" | field task_id)
echo "task $task"

echo "3. listen"
call --no-buffer "$BASE_URL/r/tasks/$task/events"

echo "4. poll"
while :; do
  status=$(call "$BASE_URL/r/tasks/$task" | field task_status)
  echo "$status"
  case $status in completed) break ;; failed | cancelled) exit 1 ;; esac
  sleep 2
done

echo "5. result"
url=$(call "$BASE_URL/r/tasks/$task/result" | field download_url)

echo "6. download"
curl --silent --show-error --fail --output "$OUT" "$url"
ls -l "$OUT"
