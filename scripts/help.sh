# shellcheck shell=bash
# help.sh is how every script gives its help, which is the comment at its head,
# and refuses a call that makes no sense.
set -Eeuo pipefail
# shellcheck disable=SC2034 # for the scripts
scripts=$(cd -- "${BASH_SOURCE[0]%/*}" && pwd -P)
self=${0##*/}

# A terminal that is gone is no reason to stop, nor to wait is one that takes nothing,
# as after Ctrl-S or over a connection that is lost.
say() { timeout --foreground 2 printf '%s: %s\n' "$self" "$*" >&2 || true; }
die() {
  say "$*"
  exit 1
}

# nap SECONDS is a sleep that needs no process.
nap() {
  [[ -n ${never:-} ]] || exec {never}<> <(:) # a pipe in which nothing ever comes
  read -r -t "$1" -u "$never" || true
}

help() { awk 'NR > 1 { if (!/^#/ || /^# shellcheck/) exit; sub(/^# ?/, ""); print }' "$0"; }

# misused ends a call that makes no sense, with the usage line of the help.
misused() {
  say "$*"
  help | head -n 1 >&2
  exit 2
}
no_arguments() { (($# == 0)) || misused "unexpected argument: $1"; }

if [[ ${1:-} == --help || ${1:-} == -h ]]; then
  help
  exit 0
fi
