# shellcheck shell=bash
# stack.sh writes what fleet deploys, and reads what became of it.
# shellcheck disable=SC2154 # what is set in lib.sh, fleet and fleet.sh is used here

# part NAME FILE names a secret or a config by what is in it, since neither can be changed.
part() { printf '  "%s": {name: "%s_%s_%.8s", file: "%s"}\n' "$1" "$WINNOW_NAME" "$1" "$(sha256sum <"$2")" "$2"; }

# settings HOST prints the environment of its agent, as JSON.
settings() {
  local name all=(--arg WINNOW_HOST "$1" --arg WINNOW_LOG https://logd:7070 --arg SSL_CERT_FILE /run/secrets/cert.pem)
  for name in "${names[@]}"; do
    case $name in
      WINNOW_NAME | WINNOW_HOST | WINNOW_LOG | WINNOW_PORT | WINNOW_SPAWN* | WINNOW_RETAIN*) ;;
      WINNOW_POLICY) all+=(--arg "$name" "${policy:+/etc/winnow/}${policy:-none}") ;;
      *) all+=(--arg "$name" "${!name}") ;;
    esac
  done
  jq --null-input --compact-output '$ARGS.named | map_values(gsub("\\$"; "$$"))' "${all[@]}"
}

# stack prints stack.yml, with what logd and each agent are given.
stack() {
  local service host policy=''
  [[ $WINNOW_POLICY == none ]] || policy=${WINNOW_POLICY##*/}
  cat -- "$scripts/stack.yml"
  printf '    secrets:\n'
  for name in token cert.pem key.pem; do printf '      - {source: %s, target: %s, uid: "65532", mode: 0400}\n' "${name%.pem}" "$name"; done
  for host in "${hosts[@]}"; do printf '      - {source: "token-%s", target: "/run/tokens/%s", uid: "65532", mode: 0400}\n' "$host" "$host"; done
  for service in "${!hosts[@]}"; do
    host=${hosts[$service]}
    cat <<END
  $service:
    <<: *agent
    environment: $(settings "$host")
    secrets: [{source: "token-$host", target: token, mode: 0400}, {source: cert, target: cert.pem}]
    configs: [${policy:+{source: policy, target: "/etc/winnow/$policy"\}}]
    deploy:
      <<: *deploy
      placement: {constraints: [node.id == ${on[$service]}]}
END
  done
  printf 'secrets:\n'
  part token "$fleet/token"
  for name in cert key; do part "$name" "$fleet/$name.pem"; done
  for host in "${hosts[@]}"; do part "token-$host" "$fleet/tokens/$host"; done
  if [[ -n $policy ]]; then printf 'configs:\n' && part policy "$WINNOW_POLICY"; fi
}

# ages prints "answers" and the /metrics that tell of each host's last snapshot, or nothing where the log does not answer.
ages() {
  local all
  [[ -r $fleet/address && -r $fleet/token ]] || return 0
  all=answers$'\n'$(printf 'oauth2-bearer = "%s"\n' "$(<"$fleet/token")" | curl --config - --silent --fail --max-time 5 --noproxy '*' --cacert "$fleet/cert.pem" \
    "https://$(<"$fleet/address"):$WINNOW_PORT/metrics") || return 0
  grep -x -e answers -e 'winnow_host_\(snapshot_timestamp_seconds\|silent\){.*' <<<"$all"
}

# states prints an object for each host that has an agent, or a node without.
states() {
  local services tasks nodes ages
  mapfile -t services < <(docker service ls --quiet --filter "$stacked" --filter "name=${WINNOW_NAME}_agent-")
  ((${#services[@]} > 0)) || return 0
  mapfile -t tasks < <(docker service ps --quiet --no-trunc "${services[@]}")
  mapfile -t nodes < <(docker node ls --quiet)
  ages=$(ages)
  jq --null-input --compact-output --from-file "$scripts/fleet.jq" --arg ages "$ages" \
    --slurpfile services <(docker service inspect "${services[@]}") \
    --slurpfile tasks <(docker inspect --type task "${tasks[@]}") --slurpfile nodes <(docker node inspect "${nodes[@]}")
}

# show_states prints them as a table.
show_states() {
  jq --raw-output '[.host, .state, (.since // "-" | sub("[.].*"; "Z")), .policy // "-", (if .age_seconds then "\(.age_seconds) s ago" else "unknown" end), .problem // ""]
    | map(gsub("[|]"; "/")) | join("|")' |
    { printf 'HOST|AGENT|SINCE|POLICY|LAST SNAPSHOT|PROBLEM\n' && report --text; } |
    awk -F '|' '{ for (i = 1; i <= NF; i++) { cell[NR, i] = $i; if (length($i) > wide[i]) wide[i] = length($i) } } END {
      for (n = 1; n <= NR; n++) { for (i = 1; i < NF; i++) printf "%-" wide[i] "s  ", cell[n, i]; print cell[n, NF] } }'
}

# await_hosts waits until each has what was deployed, or had to go back to what it had.
await_hosts() {
  local i found=''
  for ((i = 0; i < 90; i++)); do
    found=$(states)
    jq --exit-status --slurp 'any(.settled | not)' <<<"$found" >/dev/null || break
    sleep 1
  done
  jq --raw-output 'select(.state != "running" or .rolled_back) | "\(.host): \(.problem // .state)"' <<<"$found" | while read -r line; do say "$(safe <<<"$line")"; done
  jq --exit-status --slurp 'all(.state == "running" and (.rolled_back | not))' <<<"$found" >/dev/null
}

await_nothing() {
  local i
  for ((i = 0; i < 60; i++)); do
    [[ -n $(docker service ls --quiet --filter "$stacked")$(docker network ls --quiet --filter "$stacked")$(docker ps --quiet --filter "$stacked") ]] || return 0
    sleep 1
  done
  return 1
}
