//! The texts that teach: printed at the end of `--help`.

pub(crate) const MAIN: &str = "\
Examples:
  fleetprof services                                 where do the cores go?
  fleetprof top checkout --from -1h                  its functions with the most CPU
  fleetprof pprof checkout -o checkout.pb.gz         its profile, for go tool pprof
  fleetprof pprof checkout '{version=~\"v2.*\"}' -o v2.pb.gz
  fleetprof series checkout --by host                its cores over time, host by host
  fleetprof status                                   do agents deliver, is anything lost?
  fleetprof objects --state failed                   which binaries have no names, and why?

Times are relative (-15m, -1h30m, -7d), now, RFC 3339 with a zone, or Unix seconds.
Selectors are Prometheus matchers (= != =~ !~), quoted for the shell.
Tables and JSON go to standard output; what they were made from goes to standard error.
Colours and progress appear on terminals only; NO_COLOR=1 turns colours off.

Exit status: 0 done (also when nothing matched), 1 the command failed, 2 the command line is wrong.";

pub(crate) const SERVICES: &str = "\
CORES is CPU time per wall-clock time covered by data.

Examples:
  fleetprof services
  fleetprof services --from -7d --to -6d
  fleetprof services '{zone=\"eu-1a\"}' --limit 5
  fleetprof services -o json | jq -r '.[].service'

JSON: [{\"service\", \"samples\", \"cpu_seconds\", \"cores\"}]";

pub(crate) const LABELS: &str = "\
One per line, without a header.

Examples:
  fleetprof labels
  fleetprof labels version
  fleetprof labels host '{service=\"checkout\"}'

JSON: [\"name\"]";

pub(crate) const PPROF: &str = "\
The file has sample types samples/count and cpu/nanoseconds, mappings with build IDs, lines and
inlined frames, and the labels. It is an error if nothing matches; no file is written then.

Examples:
  fleetprof pprof checkout -o checkout.pb.gz && go tool pprof -http=: checkout.pb.gz
  fleetprof pprof checkout '{version=\"v2\"}' --from -1h -o v2.pb.gz
  fleetprof pprof '{host=\"web-1\"}' -o host.pb.gz
  fleetprof pprof -o everything.pb.gz
  fleetprof pprof checkout -o - | gunzip | wc -c";

pub(crate) const TOP: &str = "\
SELF is CPU time in the function itself, TOTAL includes what it calls; percentages are of all CPU
that matched. CORES is SELF per wall-clock time covered by data.

Examples:
  fleetprof top
  fleetprof top checkout --sort total --limit 50
  fleetprof top '{service=\"checkout\", version=\"v2\"}' --from -1h
  fleetprof top checkout -o json | jq '.[0]'

Code without a name is shown as module+0xoffset, each address for itself.

JSON: [{\"function\", \"file\", \"module\", \"self\", \"total\"}], times in nanoseconds, and
\"unnamed_reason\" where the function is an address";

pub(crate) const SERIES: &str = "\
Without --by, one line per step; with it, one line and one curve per series, all to the same scale.

Examples:
  fleetprof series
  fleetprof series checkout --from -6h --step 5m
  fleetprof series checkout --by host,version
  fleetprof series --by service -o json
  fleetprof series --function inflate --from -30d --by service

With --function, SELF and self_seconds are CPU time in the function itself; all else includes what it
calls. Functions of the same name in several files or modules are added up.

JSON: [{\"labels\": {}, \"step_seconds\",
        \"points\": [{\"time\", \"cpu_seconds\", \"cores\", \"samples\"}]}]";

pub(crate) const STATUS: &str = "\
Of each agent's samples: TAKEN = DELIVERED + DROPPED + PENDING. STORED are those in this store.
Of an agent that is gone, UNACCOUNTED = TAKEN - DROPPED - STORED: they wait in its spool for its next
start, or were lost when it was killed.

With --symbols, of each service and version: FRAMES is how many frames its samples have, NAMED how many
of these have the name of a function, LINES also a source line; UNRESOLVED is why the rest has none.

Examples:
  fleetprof status
  fleetprof status --symbols --from -1h
  fleetprof status -o json | jq '.agents[] | select(.connected | not) | .host'

JSON: {\"collector\", \"version\", \"started\", \"store\": {}, \"agents\": [{}], \"objects\": {}}
With --symbols: [{\"service\", \"version\", \"frames\", \"named\", \"with_lines\", \"unresolved\": {}}]";

pub(crate) const OBJECTS: &str = "\
STATE is failed (no symbol table can be made of it), wanted (not there; ASKED is how often agents
were), waiting (its table is being made) or ready. SYMBOLS is what the table was made from: dwarf
(lines and inlined calls), symtab and mini (functions), dynsym and plt (what the dynamic linker
needs), go (Go's own tables), shared (what dwz moved to another file), split (units in a .dwp file);
incomplete and damaged say that there could be more. Of what failed it is the reason. Where the
collector asks debuginfod servers for what is missing, it also says how that stands.

Examples:
  fleetprof objects
  fleetprof objects --state wanted,failed
  fleetprof objects upload ./server ./libcore.so.debug
  fleetprof objects -o json | jq -r '.[] | select(.state == \"ready\") | .path'

JSON: [{\"id\", \"state\", \"path\", \"bytes\", \"table_bytes\", \"sources\": [], \"reason\", \"attempts\",
        \"debuginfod\"}]";

pub(crate) const OBJECTS_UPLOAD: &str = "\
For build pipelines: profiles of stripped binaries get names and lines from what was built, also
those that are stored already. A file belongs to the code that has its build ID: link with
--build-id. One that says no more than what is there changes nothing. A .dwp file has no build ID:
it goes with the binary that has its name without .dwp, beside it or among the files. All are tried;
it is an error if one is refused.

Examples:
  fleetprof objects upload target/release/server
  objcopy --only-keep-debug server server.debug && fleetprof objects upload server.debug
  dwp -e server && fleetprof objects upload server      (with server.dwp)

JSON: [{\"path\", \"id\", \"format\", \"duplicate\"}]";

pub(crate) const COMPLETIONS: &str = "\
Examples:
  fleetprof completions bash > /etc/bash_completion.d/fleetprof
  fleetprof completions zsh > \"${fpath[1]}/_fleetprof\"
  fleetprof completions fish > ~/.config/fish/completions/fleetprof.fish";
