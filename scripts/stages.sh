# shellcheck shell=bash
# stages.sh joins programs to a pipe in which each is known by its process id: when
# one ends, whichever, the first is told to, and the others come to their end behind
# it with nothing lost that was read. bash's own | knows only of the end of all.
# shellcheck disable=SC2154 # lib.sh sets them

declare -A stages=() # by process id: the program
first='' next='' beside=()

# new_pipe makes a pipe: its ends are the descriptors $reads and $writes.
new_pipe() {
  local fifo=$WINNOW_STATE/pipe.$$ both
  mkfifo --mode=600 -- "$fifo"
  exec {both}<>"$fifo" # so that neither of the next two waits for the other
  exec {reads}<"$fifo"
  exec {writes}>"$fifo" {both}>&-
  rm -f -- "$fifo"
}

# stage COMMAND... starts the next of the pipe. The first reads nothing.
stage() {
  [[ -n $next ]] || exec {next}</dev/null
  new_pipe
  "$@" <&"$next" >&"$writes" {next}<&- {reads}<&- {writes}>&- &
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

# last COMMAND... starts the last one, with what reads beside it as its arguments.
last() {
  "$@" "${beside[@]/#//dev/fd/}" <&"$next" {next}<&- &
  stages[$!]=$1
  exec {next}<&-
  local each
  for each in "${beside[@]}"; do exec {each}>&-; done
}

# await_stages returns when all have ended: the status is that of the first that failed.
await_stages() {
  local pid status all=0
  while ((${#stages[@]} > 0)); do
    status=0
    wait -n -p pid "${!stages[@]}" || status=$?
    if ((status != 0 && all == 0)); then all=$status; fi
    if ((status > 128)); then say "${stages[$pid]} was ended by signal $((status - 128))"; fi
    unset "stages[$pid]"
    if [[ -v stages[$first] ]]; then kill -TERM "$first"; fi
  done
  return "$all"
}
