# shellcheck shell=bash
# lib.sh is what the scripts share: where things are, messages, arguments, and
# questions to Docker. A script sources it first, reads its arguments, and then
# calls load_settings.
# shellcheck source=scripts/help.sh
. "${BASH_SOURCE[0]%/*}/help.sh"
umask 022

root=${scripts%/*}
# cron gives a short PATH; the tools come from bin/ first.
export PATH="$root/bin:$PATH:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
for argument in "$@"; do
  if [[ $argument == --help || $argument == -h ]]; then
    help
    exit 0
  fi
done

# safe makes foreign text, such as Docker's errors, one line that can do nothing
# to a terminal.
safe() { tail -n 1 | report --text 2>/dev/null || true; }

# plural N THING prints "1 batch", "2 batches".
plural() {
  case $1,$2 in
    1,*) printf '1 %s' "$2" ;;
    *,*ch) printf '%s %ses' "$1" "$2" ;;
    *) printf '%s %ss' "$1" "$2" ;;
  esac
}

# docker asks the engine, for a bounded time: one that accepts a connection and
# never answers must hold up nothing.
docker() {
  local status=0 limit=20
  case $1 in build | run | rm | stop) limit=120 ;; load | save) limit=600 ;; esac
  timeout --kill-after=5 "$limit" docker "$@" || status=$?
  ((status != 124 && status != 137)) || printf 'it gave none for %s s\n' "$limit" >&2
  return "$status"
}

# docker_answers is false where Docker does not, and says why in no_answer.
docker_answers() {
  if no_answer=$(docker version --format '{{.Server.Version}}' 2>&1 >/dev/null); then
    no_answer=
    return
  fi
  no_answer="no answer from Docker: $(safe <<<"$no_answer")"
  return 1
}
need_docker() { docker_answers || die "$no_answer"; }

# ask_logd PATH OPTION... asks logd with curl and the token that up made.
ask_logd() { curl --config "$WINNOW_STATE/curl.conf" --silent --show-error --fail "${@:2}" "http://127.0.0.1:$WINNOW_PORT$1"; }

# lock FD FILE SECONDS takes the lock that all who do such work hold, and waits
# for it that long. A lock lasts as long as any process has its file open, and
# children have it too: so that a killed script's work counts until it is over.
# What a child was handed open it shares, and does not wait for.
lock() {
  if [[ ! /dev/fd/$1 -ef $2 ]] && ! eval "exec $1>>\"\$2\""; then return 1; fi
  flock --timeout "$3" "$1"
}

# holding FD FILE prints the processes that hold FILE as their descriptor FD.
holding() {
  local of
  for of in /proc/[0-9]*; do
    if [[ ${of#/proc/} != "$$" && $of/fd/$1 -ef $2 ]]; then printf '%s\n' "${of#/proc/}"; fi
  done
}

# holders FD FILE names them.
holders() {
  holding "$@" | while read -r pid; do
    printf '%s (%s)\n' "$pid" "$(tr '\0' ' ' 2>/dev/null <"/proc/$pid/cmdline" | cut -c 1-80)"
  done | paste -sd, | report --text
}

# check_policy is false, and says why, where the policy's file cannot be used.
check_policy() { [[ $WINNOW_POLICY == none ]] || classify --policy "$WINNOW_POLICY" --check </dev/null >/dev/null; }

# last_pass prints when the last pass came to its end and its exit status, or nothing.
# Of a loop, whose pass goes on, the last snapshot that reached the log or the spool counts.
last_pass() {
  local at='' status=0 beat=''
  read -r at status 2>/dev/null <"$WINNOW_STATE/last" || true
  beat=$(date --utc --reference="$WINNOW_STATE/beat" +%FT%TZ 2>/dev/null) || true
  if [[ $beat > $at ]]; then at=$beat status=0; fi
  [[ -z $at ]] || printf '%s %s\n' "$at" "$status"
}

# shellcheck source=scripts/settings.sh
. "$scripts/settings.sh"
