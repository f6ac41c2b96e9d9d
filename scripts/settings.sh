# shellcheck shell=bash
# settings.sh is what can be set: each setting's name, default and kind. The
# environment's value goes first, then the one that `up` saved, then that of the
# file of an installed winnow, etc/settings, then the default.
# shellcheck disable=SC2034,SC2154 # what is set here and in lib.sh is used there and here
# shellcheck source=scripts/kinds.sh
. "$scripts/kinds.sh"
# shellcheck source=scripts/state.sh
. "$scripts/state.sh"

# A line a setting: its name, default, kind (+ refuses zero), and the most that it may be.
table='
  WINNOW_NAME          winnow    name
  WINNOW_SOURCE        auto      text
  WINNOW_ENFORCE       0         switch
  WINNOW_POLICY        none      policy
  WINNOW_NOTIFY        none      text
  WINNOW_HIGH_CPU      50        number+
  WINNOW_HIGH_MEMORY   10%       share+
  WINNOW_SPAN          5s        time+    10m
  WINNOW_KEEP_LOW      3         count
  WINNOW_KEEP_HIGH     2         count
  WINNOW_VICTIMS       heaviest  order
  WINNOW_GRACE         5s        time     24h
  WINNOW_MAX_AGE       60s       time+    24h
  WINNOW_INTERVAL      10        beat+    1h
  WINNOW_ON_AVAILABLE  10%       bound
  WINNOW_ON_PRESSURE   150ms/1s  stall
  WINNOW_SPAWN         10        count
  WINNOW_SPAWN_MAX     20        count
  WINNOW_SPAWN_CPUS    0.2       cpus+    nproc
  WINNOW_SPAWN_MEMORY  128m      memory
  WINNOW_PORT          7070      port     65535
  WINNOW_SPOOL_MAX     64MB      size
  WINNOW_RETAIN        30d       age
  WINNOW_RETAIN_SIZE   10GB      size
'
names=()
declare -A origin=()

# read_file puts the lines NAME=VALUE of etc/settings into written.
read_file() {
  local line name number=0
  [[ -r $root/etc/settings ]] || return 0
  file=$(readlink -f -- "$root/etc/settings")
  while read -r line || [[ -n $line ]]; do
    number=$((number + 1)) name=${line%%=*}
    [[ -n $line && $line != '#'* ]] || continue
    [[ $line == *=* && $table == *$'\n'"  $name "* ]] || { say "$file, line $number: no setting: $(printf %q "$line")" && exit 2; }
    written[$name]=${line#*=}
  done <"$file"
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
