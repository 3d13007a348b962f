#!/bin/bash
# Exit 0 when http://127.0.0.1:PORT/PATH answers 200 within 3 s. Bash alone: the images carry no curl.
set -euo pipefail
if (($# != 2)); then
    echo "usage: healthcheck PORT PATH" >&2
    exit 2
fi
exec 3<>"/dev/tcp/127.0.0.1/$1"
printf 'GET %s HTTP/1.0\r\nHost: 127.0.0.1\r\n\r\n' "$2" >&3
read -r -t 3 status <&3
[[ $status == HTTP/1.?" 200 "* ]]
