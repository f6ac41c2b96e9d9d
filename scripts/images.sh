# shellcheck shell=bash
# images.sh builds the images: each of its Dockerfile and the programs in it, not of all of bin/.
# shellcheck disable=SC2034,SC2154 # what is set here and in lib.sh is used there and here

test_images=(high-cpu high-memory low-idle low-web)

# context IMAGE prints what an image is built from, as an archive.
context() {
  local of=("$root/images/$1"/*) policies=$root/tools/classify/policies busybox empty=
  case $1 in
    agent)
      of+=("$root/bin/"{readsysinfo,namectr,classify,killctr,logpost,notify} "$scripts/"{pipeline,stages,table}.sh)
      if installed; then policies=$root/etc/policies; fi
      busybox=$(command -v busybox) || die "busybox is not there: install busybox-static"
      ! ldd "$busybox" >/dev/null 2>&1 || die "$busybox is not static, as the agent's must be: install busybox-static"
      of+=("$policies"/*.toml "$busybox")
      ;;
    logd)
      empty=$(mktemp -d)
      of+=("$root/bin/logd" "$empty/log")
      mkdir -- "${of[-1]}" && touch -d @0 "${of[-1]}"
      ;;
    *) of+=("$root/bin/burn") ;;
  esac
  tar --create --absolute-names --dereference --transform 's|.*/||' -- "${of[@]}"
  [[ -z $empty ]] || rm -r -- "$empty"
}

# build_image IMAGE leaves in replaced what had the name before.
replaced=()
build_image() {
  local log=$WINNOW_STATE/$1.build.log id='{{.Id}}' old
  old=$(docker image inspect --format "$id" "winnow/$1" 2>/dev/null) || old=
  context "$1" | docker build --quiet --tag "winnow/$1" - >"$log" 2>&1 || die "could not build winnow/$1: $(safe <"$log")"
  rm -f -- "$log"
  [[ -z $old || $old == $(docker image inspect --format "$id" "winnow/$1") ]] || replaced+=("$old")
}
remove_replaced() {
  local image # but what a container still runs from
  for image in "${replaced[@]}"; do docker image rm "$image" >/dev/null 2>&1 || true; done
}
