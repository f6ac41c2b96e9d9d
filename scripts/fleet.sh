# shellcheck shell=bash
# fleet.sh is what fleet deploys: the hosts, what each is given, and what became of it.
# shellcheck disable=SC2034,SC2154 # what is set here, in lib.sh and in fleet is used there and here

# nodes prints them all: id, host, address, availability.
nodes() {
  local all
  mapfile -t all < <(docker node ls --quiet)
  ((${#all[@]} > 0)) || die "the nodes cannot be listed"
  docker node inspect "${all[@]}" |
    jq --raw-output '.[] | [.ID, .Spec.Labels["winnow.host"] // .Description.Hostname, (.ManagerStatus.Addr // .Status.Addr | sub(":[0-9]+$"; "")), .Spec.Availability] | @tsv'
}

# find_hosts sets hosts[SERVICE], the host's name, on[SERVICE], its node, and the log's address. A drained one runs nothing.
declare -A hosts=() on=()
find_hosts() {
  local id host at is service log
  log=$(docker node ls --quiet --filter node.label=winnow.log=true | head -n 1)
  if [[ -z $log ]]; then
    log=$(docker info --format '{{.Swarm.NodeID}}')
    docker node update --label-add winnow.log=true "$log" >/dev/null || die "the log's node cannot be labelled"
    mkdir -p -- "$fleet" && printf '%s\n' "$log" >"$fleet/labelled" # for down
  fi
  while IFS=$'\t' read -r id host at is; do
    [[ $id != "$log" ]] || address=$at
    [[ $is != drain ]] || continue
    service=agent-${host//./-}
    [[ $host =~ ^[A-Za-z0-9]([A-Za-z0-9.-]{0,38}[A-Za-z0-9])?$ && -z ${hosts[$service]:-} ]] ||
      die "$(printf %.80q "$host") is no name for the host $at, or another's: docker node update --label-add winnow.host=NAME $id"
    hosts[$service]=$host on[$service]=$id
  done < <(nodes)
  ((${#hosts[@]} > 0)) || die "there is no host to govern"
}

# make_secrets makes, once, a token for the readers and one for each host, and what TLS needs.
make_secrets() {
  local of
  umask 077
  mkdir -p -- "$fleet/tokens" && printf '%s\n' "$address" >"$fleet/address"
  for of in "$fleet/tokens"/*; do [[ " ${hosts[*]} " == *" ${of##*/} "* ]] || rm -f -- "$of"; done # of a host that left
  for of in "$fleet/token" "${hosts[@]/#/"$fleet/tokens/"}"; do
    [[ -s $of ]] || { od -An -N24 -tx1 /dev/urandom | tr -d ' \n' >"$of.new" && mv -- "$of.new" "$of"; }
  done
  [[ $(openssl x509 -in "$fleet/cert.pem" -noout -subject -checkend 2592000 2>/dev/null) == *"$address"$'\n'*'not expire'* ]] ||
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 3650 -subj "/CN=$address" -addext \
      "subjectAltName=DNS:logd,IP:$address" -keyout "$fleet/key.pem" -out "$fleet/cert.pem" 2>/dev/null || die "openssl made no certificate"
  umask 022
}

# A tag of its own for each image, since a change of what `latest` is changes no service.
declare -A tags=()
tag_image() {
  build_image "$1"
  tags[$1]=$(docker image inspect --format '{{.Id}}' "winnow/$1" | cut -c 8-19)
  docker tag "winnow/$1" "winnow/$1:${tags[$1]}"
}

at() { DOCKER_HOST=$1 docker "${@:2}"; }

# each_engine FUNCTION calls it with each node's address and engine.
each_engine() {
  local at failed=0
  while IFS=$'\t' read -r _ _ at _; do
    "$1" "$at" "${engine//'{}'/$at}" || { say "$at: not done: $1" && failed=1; }
  done < <(nodes)
  return "$failed"
}

bring_images() {
  local image
  for image in "${!tags[@]}"; do
    image=winnow/$image:${tags[$image]}
    at "$2" image inspect "$image" >/dev/null 2>&1 || docker save "$image" | at "$2" load >/dev/null || return
  done
}

# clean waits for the containers, which end a little later than what they were of.
clean() {
  local volume image i
  for volume in "${WINNOW_NAME}_state" "${WINNOW_NAME}_log"; do
    for ((i = 0; i < 40; i++)); do
      [[ -n $(at "$2" volume ls --quiet --filter "name=^$volume\$") ]] || continue 2
      at "$2" volume rm "$volume" >/dev/null 2>&1 || sleep 1
    done
    return 1
  done
  at "$2" image ls --format '{{.Repository}}:{{.Tag}}' --filter reference='winnow/agent:*' --filter reference='winnow/logd:*' |
    while read -r image; do [[ $image == *:latest ]] || at "$2" image rm "$image" >/dev/null || return; done
}

# remove_unused removes what was deployed before; what a service still has is not to be removed.
remove_unused() {
  local kind name
  for kind in secret config; do
    docker "$kind" ls --format '{{.Name}}' --filter "$stacked" | while read -r name; do
      grep -qF "\"$name\"" "$fleet/stack.yml" || docker "$kind" rm "$name" >/dev/null 2>&1 || true
    done
  done
}
