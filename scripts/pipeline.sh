# shellcheck shell=sh
# usage: sh pipeline.sh [--dry-run] [--every TIME]
#
# pipeline.sh is the pipe itself: sample, name, judge, kill, log, and beside it the report on stderr. Its stdout is the
# records. loop, cycle and the agent's image run it, with every setting in the environment and the tools in the PATH.
#
#   --dry-run      kill nothing
#   --every TIME   go on, with a sample so often and whenever the host is short, until nobody governs or a stage ends.
#                  Then the report is only shown to a terminal.
# shellcheck disable=SC2086 # words are split where they are meant to be
set -euf
# shellcheck source=scripts/stages.sh
. "${0%/*}/stages.sh"

dry='' every=''
while [ $# -gt 0 ]; do
  case $1 in
    --dry-run) dry=--dry-run ;;
    --every) every=$2 && shift ;;
    *) say "unexpected argument: $1" && exit 2 ;;
  esac
  shift
done
governing=$WINNOW_STATE/governing

# What acts when memory is short must neither wait for it nor be what the kernel ends.
ready='' early=''
if [ -n "$every" ]; then
  ready=--lock-memory early=--ask-early
  read -r score </proc/self/oom_score_adj
  [ "$score" -le -900 ] || spare -900 ||
    say "when memory is short the kernel may end winnow too: only root can set its oom_score_adj"
fi

sample() {
  set -- --source "$WINNOW_SOURCE" --state "$WINNOW_STATE/readsysinfo.state" --span "$WINNOW_SPAN" --while "$governing" $ready
  [ "$WINNOW_HOST" = none ] || set -- "$@" --host "$WINNOW_HOST"
  [ -z "${WINNOW_PROC:-}" ] || set -- "$@" --proc-root "$WINNOW_PROC"
  if [ -n "$every" ]; then
    set -- "$@" --every "$every" --stages
    [ "$WINNOW_ON_AVAILABLE" = none ] || set -- "$@" --on-available "$WINNOW_ON_AVAILABLE"
    [ "$WINNOW_ON_PRESSURE" = none ] || set -- "$@" --on-pressure "memory some $WINNOW_ON_PRESSURE"
  fi
  stage readsysinfo "$@"
}

judge() {
  set -- --high-cpu "$WINNOW_HIGH_CPU" --high-memory "$WINNOW_HIGH_MEMORY" --span "$WINNOW_SPAN" $ready
  if [ "$WINNOW_POLICY" = none ]; then
    set -- "$@" --keep-low "$WINNOW_KEEP_LOW" --keep-high "$WINNOW_KEEP_HIGH" --victims "$WINNOW_VICTIMS"
  else
    set -- "$@" --policy "$WINNOW_POLICY" --state "$WINNOW_STATE/policy.state"
  fi
  stage classify "$@"
}

carry_out() {
  set -- $dry --grace "$WINNOW_GRACE" --max-age "$WINNOW_MAX_AGE" --rm --while "$governing" $early $ready
  [ "$WINNOW_ENFORCE" = 1 ] || set -- "$@" --only winnow.test
  stage killctr "$@"
}

# post stage|last delivers.
post() {
  store=$WINNOW_LOG
  [ "$store" != none ] || store=http://127.0.0.1:$WINNOW_PORT
  set -- "$1" logpost --to-the-end --to "$store" --spool "$WINNOW_STATE/spool" \
    --spool-max "$WINNOW_SPOOL_MAX" --beat "$WINNOW_STATE/beat" $ready
  # What comes before the first up waits in the spool.
  if [ -r "$WINNOW_STATE/token" ] || [ ! -e "$WINNOW_STATE/token" ]; then set -- "$@" --token-file "$WINNOW_STATE/token"; fi
  "$@"
}

sample
stage namectr $ready
judge
carry_out
if [ -z "$every" ]; then beside report; elif [ -t 2 ]; then beside report --live; fi
[ "$WINNOW_NOTIFY" = none ] || beside notify --timeout 2s --state "$WINNOW_STATE/notified" $WINNOW_NOTIFY
if [ -n "$tees" ]; then
  post stage
  last_tee
else
  post last
fi
await_stages
