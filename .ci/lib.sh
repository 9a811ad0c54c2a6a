# Sourced by the steps: the release binary, a scratch folder that is removed, and ways to say what went wrong.
set -u
tribunal=target/release/tribunal
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

fail() {
  echo "  $*"
  exit 1
}

# expect CODE COMMAND…: runs it with its output in $scratch/out and $scratch/err, and fails unless it exits so.
expect() {
  local want=$1 code
  shift
  "$@" >"$scratch/out" 2>"$scratch/err"
  code=$?
  [ "$code" = "$want" ] || {
    tail -n 12 "$scratch/out" "$scratch/err"
    fail "exit code $code, not $want: $*"
  }
}

# property ID VERDICT: the report in $scratch/out (from --json) says so.
property() {
  grep -oE "\"id\":\"$1\",\"title\":\"[^\"]*\",\"class\":\"[a-z]*\",\"verdict\":\"$2\"" "$scratch/out" >/dev/null ||
    fail "the property $1 is not $2: $(grep -oE "\"id\":\"$1\"[^}]*" "$scratch/out")"
}

# operations: how many operations the report in $scratch/out counts as ok.
operations() {
  grep -oE '"ok":[0-9]+' "$scratch/out" | cut -d: -f2 | paste -sd+ - | sed 's/^$/0/' | { read -r sum; echo $((sum)); }
}

# children: processes of the release binary, and of etcd started by it, that run now.
children() {
  pgrep -fc -- "$scratch" || true
}

# needs PROGRAM…: skips the step by name if one is missing; an error where the peers are required.
needs() {
  local program
  for program in "$@"; do
    command -v "$program" >/dev/null && continue
    [ "${TRIBUNAL_REQUIRE_PEERS:-}" = 1 ] && fail "$program is required and not installed"
    echo "  SKIPPED: $(basename "$0") needs $program"
    exit 0
  done
}
