# shellcheck shell=sh
# stages.sh joins programs to a pipe in which each is a process of ours: the end of one, whichever, comes down the pipe
# to the last, then the first is told to end, and what was read comes through behind it. A shell's own | knows only of
# the end of all. It is POSIX sh, since the agent has no bash. Of its descriptors 3 is what the next stage reads, 4 and
# 5 lead to what stands beside, 6 and 7 are a new pipe's two ends, and 8 and 9 the locks of who called it.

# What shows our stderr may take nothing, as a terminal after Ctrl-S.
say() { timeout 2 printf 'pipeline: %s\n' "$*" >&2 || true; }

new_pipe() {
  fifo=$WINNOW_STATE/pipe.$$
  rm -f -- "$fifo" # of one that was killed right here
  mkfifo -m 600 "$fifo"
  exec 7<>"$fifo" # so that neither of the next two waits for the other
  exec 6<"$fifo"
  exec 7>"$fifo"
  rm -f -- "$fifo"
}

pids='' first=''
track() { pids="$pids $1:$2"; }

# stage COMMAND... starts the next one, which reads what the one before writes. The first ends where we are killed.
stage() {
  name=$1
  if [ -z "$first" ]; then
    exec 3</dev/null
    if setpriv --pdeathsig TERM true 2>/dev/null; then set -- setpriv --pdeathsig TERM "$@"; fi
  fi
  new_pipe
  "$@" <&3 >&7 3<&- 4>&- 5>&- 6<&- 7>&- &
  track "$!" "$name"
  first=${first:-$!}
  exec 3<&6 6<&- 7>&-
}

# spare NUMBER is how little the kernel is to end us when memory is short.
spare() { { printf '%s' "$1" >/proc/self/oom_score_adj; } 2>/dev/null; }

# beside COMMAND... starts a program, of two at most, that reads what the last one passes on. Its end is the end of all,
# its stdout our stderr, and when memory is short it is spared no more than any other.
tees=''
beside() {
  new_pipe
  {
    spare 0 || true
    status=0
    "$@" <&6 >&2 6<&- || status=$?
    kill -TERM "$first" 2>/dev/null || true
    exit "$status"
  } 3<&- 4>&- 5>&- 7>&- &
  track "$!" "$1"
  if [ -z "$tees" ]; then
    exec 4>&7
    tees=/dev/fd/4
  else
    exec 5>&7
    tees="$tees /dev/fd/5"
  fi
  exec 6<&- 7>&-
}

# last COMMAND... starts the last one. It alone holds the other end of 6, in which nothing comes but its end.
last() {
  new_pipe
  "$@" <&3 3<&- 6<&- &
  track "$!" "$1"
  exec 3<&- 4>&- 5>&- 7>&-
}

# last_tee starts one that passes all on to what stands beside, too. busybox's ends with the first of them.
last_tee() {
  # shellcheck disable=SC2086 # they are words
  if tee -p </dev/null >/dev/null 2>&1; then last tee -p $tees; else last tee $tees; fi
}

# await_stages returns when all have ended. The status is the highest of theirs, which a signal's is; SIGPIPE, and the first
# one's SIGTERM, only follow from the end of another.
await_stages() {
  all=0 follows=0
  read -r _ <&6 || true
  kill -TERM "$first" 2>/dev/null || true
  for one in $pids; do
    status=0
    wait "${one%%:*}" 2>/dev/null || status=$?
    case $one=$status in
      *=141 | "$first":*=143)
        follows=$status
        continue
        ;;
    esac
    [ "$status" -le "$all" ] || all=$status
    [ "$status" -le 128 ] || say "${one#*:} was ended by signal $((status - 128))"
  done
  [ "$all" != 0 ] || all=$follows
  return "$all"
}
