# shellcheck shell=bash disable=SC2034 # for the scripts
# lib.sh is what the scripts of the virtual machines share.
# shellcheck source=scripts/help.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/../../scripts/help.sh"
mirror=${WINNOW_MIRROR:-http://deb.debian.org}
cache=${XDG_CACHE_HOME:-$HOME/.cache}/winnow
vm=$(cd -- "${BASH_SOURCE[0]%/*}" && pwd -P)
module=${vm%/*}
self=vm/$self

# copy_module copies what the module is built from into a directory.
copy_module() {
  cp "$module"/{Kbuild,dkms.conf,*.c,*.h} "$1/"
  rm -f "$1"/*.mod.c
}

# in_root runs a command in a directory with a compiler that `kernel` made; without root, a user namespace gives the right to.
in_root() {
  local user=()
  ((EUID == 0)) || user=(--map-root-user)
  # shellcheck disable=SC2016 # the inner shell expands these
  unshare "${user[@]}" --mount --pid --fork sh -c 'mount --rbind /dev "$1/dev" && mount -t proc proc "$1/proc" &&
    exec chroot "$@"' sh "$1" env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C "${@:2}"
}

# eventually WHAT COMMAND... waits until the command is true: in an emulator beside others, for long.
eventually() {
  local what=$1 end=$((SECONDS + 400))
  shift
  while ((SECONDS < end)); do
    if "$@"; then return; fi
    sleep 0.5
  done
  die "not in time: $what"
}

# machine DIR KERNEL APPEND ARGUMENT... boots a kernel with more for its command line and for the emulator's, shows what
# the machine prints between its two marks, and ends the script with the status in the second.
machine() {
  local console=$1/console status
  # Now and then the emulator trips over a kernel that patches its own code on two CPUs while it starts. That is before
  # anything of winnow runs, and another start helps; what happens after the mark is never tried again.
  for _ in 1 2 3; do
    # A plain CPU model: string instructions, which newer ones prefer, are what software emulation is slowest at.
    timeout --foreground "${LIMIT:-900}" qemu-system-x86_64 -accel tcg,thread=multi -cpu Nehalem -machine q35 -smp "${CPUS:-2}" \
      -m "$MEMORY" -nodefaults -no-user-config -display none -no-reboot -serial stdio \
      -kernel "$2" -append "console=ttyS0 quiet panic=-1 oops=panic $3 ${APPEND:-}" "${@:4}" </dev/null |
      tee "$console" | sed -u '1,/^vm: begin/d; /^vm: status/,$d' || true
    if grep -q '^vm: begin' "$console"; then break; fi
  done
  status=$(sed -n 's/^vm: status \([0-9]*\).*/\1/p' "$console" | tail -n 1)
  [[ -n $status ]] || die "the machine stopped before the command ended; the last of its console:"$'\n'"$(tail -n 60 "$console")"
  exit "$status"
}
