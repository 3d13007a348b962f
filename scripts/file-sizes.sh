#!/usr/bin/env bash
# A file that no longer fits in a reader's head is split: Rust files over 500 lines fail, over 400 are named.
# Tests (tests.rs, tests/, benches/) and generated code (gen/) are free.
set -euo pipefail
cd "$(dirname "$0")/.."
git ls-files -z --cached --others --exclude-standard -- '*.rs' |
    { grep -zvE '(^|/)(tests\.rs|tests/|benches/|gen/)' || true; } |
    xargs -0 -r wc -l |
    awk '$2 != "total" && $1 > 500 { print "error: " $2 ": " $1 " lines, more than 500"; failed = 1; next }
         $2 != "total" && $1 > 400 { print "warning: " $2 ": " $1 " lines, more than 400" }
         END { exit failed }'
