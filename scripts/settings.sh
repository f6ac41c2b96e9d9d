# shellcheck shell=bash
# settings.sh finds each setting's value: the environment's goes first, then the
# one that `up` saved, then that of the file of an installed winnow, etc/settings,
# then the default, which is in table.sh.
# shellcheck disable=SC2034,SC2154 # what is set here and in lib.sh is used there and here
# shellcheck source=scripts/kinds.sh
. "$scripts/kinds.sh"
# shellcheck source=scripts/state.sh
. "$scripts/state.sh"

# shellcheck source=scripts/table.sh
. "$scripts/table.sh"
names=()
declare -A origin=()

# read_file puts the lines NAME=VALUE of etc/settings into written.
read_file() {
  local line name number=0
  [[ -r $root/etc/settings ]] || return 0
  file=$(readlink -f -- "$root/etc/settings")
  # shellcheck disable=SC2094 # its name is only said
  while read -r line || [[ -n $line ]]; do
    number=$((number + 1)) name=${line%%=*}
    [[ -n $line && $line != '#'* ]] || continue
    if [[ $line == VERSION=* ]]; then
      known_version "$file" "${line#*=}"
      continue
    fi
    [[ $line == *=* && $table == *$'\n'"  $name "* ]] || { say "$file, line $number: no setting: $(printf %q "$line")" && exit 2; }
    written[$name]=${line#*=}
  done <"$file"
}

# Where there is no Docker, the Podman whose socket is there serves: root's, or else the user's own.
find_podman() {
  local socket
  [[ ! -S /var/run/docker.sock ]] || return 0
  for socket in /run/podman/podman.sock "${XDG_RUNTIME_DIR:-/run/user/$EUID}/podman/podman.sock"; do
    if [[ -S $socket && -w $socket ]]; then export DOCKER_HOST=unix://$socket && return; fi
  done
}

load_settings() {
  local name value from kind most file
  local -A saved=() written=()
  set_state
  read_file
  for from in "$unfinished" "$up"; do
    [[ -r $from ]] || continue
    while IFS='=' read -r name value; do saved[$name]=$value; done <"$from"
  done
  if [[ -z ${DOCKER_HOST:-} && -n ${saved[DOCKER_HOST]:-} ]]; then export DOCKER_HOST=${saved[DOCKER_HOST]}; fi
  [[ -n ${DOCKER_HOST:-} ]] || find_podman
  while read -r name value kind most; do
    [[ -n $name ]] || continue
    names+=("$name")
    if [[ -n ${!name:-} ]]; then
      origin[$name]=environment value=${!name}
    elif [[ -n ${saved[$name]:-} ]]; then
      origin[$name]="saved by up" value=${saved[$name]}
    elif [[ -n ${written[$name]:-} ]]; then
      origin[$name]=$file value=${written[$name]}
    else
      origin[$name]=default
    fi
    [[ ${origin[$name]} == default ]] || valid "$name" "$value" "$kind" "$most"
    printf -v "$name" '%s' "$value"
  done <<<"$table"
  saved_name=${saved[WINNOW_NAME]:-}
  # What suits the test containers, which are small, holds as long as nothing else can be stopped.
  if ((WINNOW_SPAWN > 0 && !WINNOW_ENFORCE)); then
    [[ ${origin[WINNOW_HIGH_CPU]} != default ]] || origin[WINNOW_HIGH_CPU]="test containers" WINNOW_HIGH_CPU=5
    [[ ${origin[WINNOW_HIGH_MEMORY]} != default ]] || origin[WINNOW_HIGH_MEMORY]="test containers" WINNOW_HIGH_MEMORY=64MB
  fi
}

# chosen prints the settings that are not the defaults, as NAME=VALUE.
chosen() {
  local name
  for name in "${names[@]}"; do
    case ${origin[$name]} in environment | 'saved by up') printf '%s=%s\n' "$name" "${!name}" ;; esac
  done
}

# save_settings FILE keeps them, for down and for those that cron starts.
save_settings() {
  { chosen && printf 'WINNOW_NAME=%s\nDOCKER_HOST=%s\n' "$WINNOW_NAME" "${DOCKER_HOST:-}"; } >"$1.new"
  mv -- "$1.new" "$1"
}
