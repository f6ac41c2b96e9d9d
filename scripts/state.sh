# shellcheck shell=bash
# state.sh is where winnow keeps what it keeps, and whether it is up.
# shellcheck disable=SC2034,SC2154 # what is set here and in lib.sh is used there and here

# An installed winnow is the host's, not one of a user's.
installed() { [[ -d $root/etc ]]; }
called=scripts/ # how a message names a command
if installed; then called='winnow '; fi

# Where winnow keeps its log, spool and locks. Docker, cron and sh must all be
# able to take the path.
set_state() {
  local default=${XDG_STATE_HOME:-${HOME:-/root}/.local/state}/winnow
  if installed; then default=/var/lib/winnow; fi
  export WINNOW_STATE="${WINNOW_STATE:-$default}"
  local state
  printf -v state '%q' "$WINNOW_STATE"
  [[ $WINNOW_STATE == /* ]] || { say "WINNOW_STATE must be an absolute path: $state" && exit 2; }
  [[ $WINNOW_STATE != *[:\\[:cntrl:]]* ]] ||
    { say "WINNOW_STATE must hold no colon, backslash or control character: $state" && exit 2; }
  # up is there while winnow is up; it is called unfinished while up or down is
  # under way, or where one of them did not come to its end.
  up=$WINNOW_STATE/up unfinished=$WINNOW_STATE/unfinished governing=$WINNOW_STATE/governing
  local is=''
  read -r is 2>/dev/null <"$WINNOW_STATE/version" || true
  known_version "$WINNOW_STATE" "$is"
}

# What is kept has a version, which is 1 where it is not said. That of a newer winnow is left as it is.
known_version() {
  [[ -z $2 || $2 == "$version" ]] && return
  say "$1 is of version $(printf '%.16q' "$2"), which a newer winnow wrote: this one knows version $version, and leaves it as it is"
  exit 2
}
make_state() {
  mkdir -p -- "$WINNOW_STATE"
  [[ -s $WINNOW_STATE/version ]] || printf '%s\n' "$version" >"$WINNOW_STATE/version"
}

is_up() { [[ -e $up ]]; }

# The containers that spawn made, as an argument for `docker ps`.
ours() { printf 'label=winnow.test=%s' "$WINNOW_NAME"; }
