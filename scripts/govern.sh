# shellcheck shell=bash
# govern.sh is what loop and cycle share: the one lock under which a host is
# governed, the mark that lasts as long as it may be, and the pipeline.
#
# $governing is there while somebody governs. Whoever removes it (down, or our
# own trap) ends that: readsysinfo and killctr look at it, killctr right before
# each stop. The pipeline has a session of its own, so that no signal of the
# terminal comes between a kill and its line in the log, and it holds the lock
# until its last tool has ended, whatever became of the script that started it.
# shellcheck disable=SC2154 # lib.sh sets them

# govern_arguments reads [--dry-run] [--enforce].
dry=() going_on=()
govern_arguments() {
  local argument
  for argument in "$@"; do
    case $argument in
      --dry-run) dry=(--dry-run) ;;
      --enforce) export WINNOW_ENFORCE=1 ;;
      *) misused "unknown argument: $argument" ;;
    esac
  done
}

# how tells how far killing goes.
how() {
  case ${dry[*]-}$WINNOW_ENFORCE in
    --dry-run*) printf 'dry: nothing is killed' ;;
    0) printf 'only test containers (label winnow.test) are killed, for all others it is dry; --enforce or WINNOW_ENFORCE=1 changes that' ;;
    1) printf 'enforced: every container that opted in may be killed' ;;
  esac
}

# begin_governing takes the lock, or is false where another holds it.
stopping=
begin_governing() {
  make_state && mkdir -p -- "$WINNOW_STATE/spool" && : >>"$WINNOW_STATE/governing.lock" || exit 1
  lock 9 "$WINNOW_STATE/governing.lock" 0 || return 1
  # No signal may end this rm, too: then we would govern on. As a failure it would end us.
  trap 'stopping=1; trap "" HUP INT QUIT TERM; rm -f -- "$governing" || true' HUP INT QUIT TERM
  trap 'trap "" HUP INT QUIT TERM; rm -f -- "$governing"' EXIT
  printf '%s=%s\n' pid "$$" program "$self" since "$(date --utc +%FT%TZ)" how "$(how)" interval "$WINNOW_INTERVAL" \
    grace "$WINNOW_GRACE" source "$WINNOW_SOURCE" >"$governing.new"
  mv -- "$governing.new" "$governing"
  if [[ -n $stopping ]]; then rm -f -- "$governing" || true; fi
}

# pipeline becomes it, with these settings, whatever down does to the saved ones. Stages of one that was killed come to
# their end first, a kill that they have begun included.
pipeline() {
  millis "$WINNOW_GRACE"
  lock 8 "$WINNOW_STATE/pipeline.lock" "$((REPLY / 1000 + 30))" || die "the pipeline before has not ended: $(holders 8 "$WINNOW_STATE/pipeline.lock")"
  export "${names[@]}"
  exec setsid sh "$scripts/pipeline.sh" "${dry[@]}" "${going_on[@]}"
}

# pass runs the pipeline to its end, even where we are told to stop; that is noted as no failure.
pass() {
  local status=0 child noted
  pipeline </dev/null &
  child=$!
  while kill -0 "$child"; do
    wait "$child" && status=0 || status=$?
  done 2>/dev/null # bash itself would tell of one that was killed, and wait for the terminal
  noted=$status
  [[ -e $governing ]] || noted=0
  printf '%s %s\n' "$(date --utc +%FT%TZ)" "$noted" >"$WINNOW_STATE/last.new" &&
    mv -- "$WINNOW_STATE/last.new" "$WINNOW_STATE/last"
  return "$status"
}
