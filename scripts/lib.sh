# shellcheck shell=bash
# lib.sh is what the scripts share: where things are, the settings, messages,
# locks and the crontab. A script sources it first.
set -Eeuo pipefail
umask 022

scripts=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd -P)
root=$(dirname -- "$scripts")
# cron gives a short PATH; the tools come from bin/ first.
export PATH="$root/bin:$PATH:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
self=${0##*/}

say() { printf '%s: %s\n' "$self" "$*" >&2; }
die() {
  say "$*"
  exit 1
}

# Where winnow keeps its log, spool and locks.
export WINNOW_STATE="${WINNOW_STATE:-${XDG_STATE_HOME:-${HOME:-/root}/.local/state}/winnow}"

# Every setting: the environment's value, else the one that `up` saved for
# those that cron starts, else the default here.
declare -A defaults=(
  [WINNOW_NAME]=winnow       # names the containers and the crontab's block
  [WINNOW_SOURCE]=auto       # readsysinfo --source
  [WINNOW_HIGH_CPU]=5        # classify --high-cpu, percent of a core
  [WINNOW_HIGH_MEMORY]=64MB  # classify --high-memory
  [WINNOW_KEEP_LOW]=3        # classify --keep-low
  [WINNOW_KEEP_HIGH]=2       # classify --keep-high
  [WINNOW_VICTIMS]=heaviest  # classify --victims
  [WINNOW_GRACE]=5s          # killctr --grace
  [WINNOW_MAX_AGE]=60s       # killctr --max-age
  [WINNOW_INTERVAL]=10       # seconds from one cycle's start to the next
  [WINNOW_SPAWN]=10          # test containers a spawn
  [WINNOW_SPAWN_MAX]=20      # test containers alive at once
  [WINNOW_SPAWN_CPUS]=0.2    # CPU limit of each
  [WINNOW_SPAWN_MEMORY]=128m # memory limit of each
  [WINNOW_PORT]=7070         # logd's, on 127.0.0.1
  [WINNOW_SPOOL_MAX]=64MB    # logpost --spool-max
  [WINNOW_RETAIN]=30d        # logd --retain
  [WINNOW_RETAIN_SIZE]=10GB  # logd --retain-bytes
)
settings() {
  local name value
  local -A saved=()
  if [[ -r $WINNOW_STATE/up ]]; then
    while IFS='=' read -r name value; do saved[$name]=$value; done <"$WINNOW_STATE/up"
  fi
  if [[ -z ${DOCKER_HOST:-} && -n ${saved[DOCKER_HOST]:-} ]]; then export DOCKER_HOST=${saved[DOCKER_HOST]}; fi
  for name in "${!defaults[@]}"; do
    value=${!name:-${saved[$name]:-${defaults[$name]}}}
    [[ $value != *$'\n'* ]] || die "$name holds a newline"
    export "$name=$value"
  done
}
settings

# save_settings marks winnow as up, and keeps the settings for cron's spawns.
save_settings() {
  local name
  for name in "${!defaults[@]}"; do printf '%s=%s\n' "$name" "${!name}"; done >"$WINNOW_STATE/up.new"
  printf 'DOCKER_HOST=%s\n' "${DOCKER_HOST:-}" >>"$WINNOW_STATE/up.new"
  mv -- "$WINNOW_STATE/up.new" "$WINNOW_STATE/up"
}
is_up() { [[ -e $WINNOW_STATE/up ]]; }

need_docker() {
  docker version --format '{{.Server.Version}}' >/dev/null 2>&1 && return
  die "no answer from Docker: $(docker version 2>&1 >/dev/null | tail -n 1)"
}

# The containers that spawn made, as an argument for `docker ps`.
export ours="label=winnow.test=$WINNOW_NAME"
