#!/usr/bin/env bash
# deploy/docker/healthcheck.sh against a server that answers what the path asks for, and against nobody.
set -euo pipefail
cd "$(dirname "$0")/../.."

scratch=$(mktemp -d)
python3 - "$scratch/port" <<'PYTHON' &
import http.server, os, sys

class Echo(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(int(self.path[1:]))
        self.end_headers()
    def log_message(self, *_):
        pass

server = http.server.HTTPServer(("127.0.0.1", 0), Echo)
# Renamed into place, so that the reader never sees half a number.
with open(sys.argv[1] + ".new", "w") as file:
    file.write(str(server.server_port))
os.rename(sys.argv[1] + ".new", sys.argv[1])
server.serve_forever()
PYTHON
server=$!
stop() {
    if [[ -n $server ]]; then kill "$server" 2>/dev/null || true; fi
    rm -rf "$scratch"
}
trap stop EXIT
until [[ -e $scratch/port ]]; do
    kill -0 "$server"
    sleep 0.05
done
port=$(<"$scratch/port")

healthcheck() { deploy/docker/healthcheck.sh "$port" "$1" 2>/dev/null; }
healthcheck /200
if healthcheck /503; then echo "503 was taken for healthy" && exit 1; fi
if healthcheck /404; then echo "404 was taken for healthy" && exit 1; fi
kill "$server"
wait "$server" || true
server=
if healthcheck /200; then echo "nobody was taken for healthy" && exit 1; fi
