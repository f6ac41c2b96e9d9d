# shellcheck shell=bash
# stages.sh joins programs to a pipe in which each is known by its process id: when
# one ends, whichever, the first is told to, and the others come to their end behind
# it with nothing lost that was read. bash's own | knows only of the end of all.
# shellcheck disable=SC2154 # lib.sh sets them

declare -A stages=() # by process id: the program
first='' next='' alive='' beside=()

# new_pipe makes a pipe: its ends are the descriptors $reads and $writes.
new_pipe() {
  local fifo=$WINNOW_STATE/pipe.$$ both
  rm -f -- "$fifo" # of one that was killed right here
  mkfifo --mode=600 -- "$fifo"
  exec {both}<>"$fifo" # so that neither of the next two waits for the other
  exec {reads}<"$fifo"
  exec {writes}>"$fifo" {both}>&-
  rm -f -- "$fifo"
}

# stage COMMAND... starts the next of the pipe. The first reads nothing, and ends
# where we are killed.
stage() {
  local how=()
  if [[ -z $first ]]; then
    exec {next}</dev/null
    how=(setpriv --pdeathsig TERM)
  fi
  new_pipe
  "${how[@]}" "$@" <&"$next" >&"$writes" {next}<&- {reads}<&- {writes}>&- &
  stages[$!]=$1
  first=${first:-$!}
  exec {next}<&- {writes}>&-
  next=$reads
}

# beside COMMAND... starts a program that will read what the last one passes on.
# Its stdout is our stderr.
beside() {
  new_pipe
  "$@" <&"$reads" >&2 {next}<&- {reads}<&- {writes}>&- &
  stages[$!]=$1
  exec {reads}<&-
  beside+=("$writes")
}

# last COMMAND... starts the last one, with what reads beside it as its arguments. It
# alone holds the other end of $alive, which tells at once when all come to their end.
last() {
  new_pipe
  "$@" "${beside[@]/#//dev/fd/}" <&"$next" {next}<&- {reads}<&- &
  stages[$!]=$1
  exec {next}<&- {writes}>&-
  alive=$reads
  local each
  for each in "${beside[@]}"; do exec {each}>&-; done
}

# await_stages returns when all have ended: the status is that of the first that
# failed. It looks ever less often, to every two seconds, since `wait -n` misses what
# has ended before.
await_stages() {
  local pid status all=0 said seconds pause=5
  exec {said}>&2 2>/dev/null # bash itself would tell of the killed, with the whole line
  while ((${#stages[@]} > 0)); do
    for pid in "${!stages[@]}"; do
      if kill -0 "$pid"; then continue; fi
      status=0
      wait "$pid" || status=$?
      if ((status != 0 && all == 0)); then all=$status; fi
      ((status <= 128)) || say "${stages[$pid]} was ended by signal $((status - 128))" 2>&"$said"
      unset "stages[$pid]"
      if [[ -v stages[$first] ]]; then kill -TERM "$first" || true; fi
    done
    pause=$((pause < 1000 ? 2 * pause : 2000))
    printf -v seconds '%d.%03d' "$((pause / 1000))" "$((pause % 1000))"
    ((${#stages[@]} > 0)) || break
    status=0
    read -r -t "$seconds" -u "$alive" || status=$?
    if ((status <= 128)); then # the last one has ended, the others are about to
      nap 0.05
    fi
  done
  exec {alive}<&-
  exec 2>&"$said" {said}>&-
  return "$all"
}
