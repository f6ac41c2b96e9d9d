# shellcheck shell=bash
# containers.sh is what up and down share: whose winnow it is, logd and its token.

# named ends the script where the state directory is another name's, owned
# where the name is another state directory's: theirs must not be taken over.
named() {
  [[ -z $saved_name || $saved_name == "$WINNOW_NAME" ]] ||
    die "$WINNOW_STATE is of WINNOW_NAME=$saved_name, not of $WINNOW_NAME: nothing was done"
}
owned() {
  local theirs
  theirs=$(docker inspect --format '{{index .Config.Labels "winnow.state"}}' "$WINNOW_NAME-logd" 2>/dev/null) || return 0
  [[ -z $theirs || $theirs == "$WINNOW_STATE" ]] ||
    die "WINNOW_NAME=$WINNOW_NAME is of the winnow with WINNOW_STATE=$theirs, which is left as it is: choose another name, or take that one down"
}

# remove_ours removes the test containers, those included that Docker fails to
# remove at first because somebody else is at it.
remove_ours() {
  local i ids
  for ((i = 0; i < 5; i++)); do
    mapfile -t ids < <(docker ps --all --quiet --filter "$(ours)" || printf 'unknown\n')
    ((${#ids[@]} > 0)) || return 0
    docker rm --force "${ids[@]}" 2>&1 >/dev/null | report --text >&2 || sleep 1
  done
  return 1
}

# remove_logd stops the log in order first, and leaves no log of another's.
remove_logd() {
  docker inspect "$WINNOW_NAME-logd" >/dev/null 2>&1 || return 0
  docker stop --time 10 "$WINNOW_NAME-logd" >/dev/null 2>&1 || true
  docker rm --force "$WINNOW_NAME-logd" 2>&1 >/dev/null | report --text >&2
}

# make_token USER makes the word that logd asks for, once, and what has curl say
# it. No command line shows it. logd's USER owns the one; if that is not us, we
# are root, who can read it all the same.
make_token() {
  local token=$WINNOW_STATE/token word
  # Docker makes a directory of a token that is not there when it starts logd anew.
  if [[ -d $token ]]; then rmdir -- "$token"; fi
  if [[ ! -s $token ]]; then
    (umask 077 && od -An -N24 -tx1 /dev/urandom | tr -d ' \n' >"$token.new")
    mv -T -- "$token.new" "$token"
  fi
  chmod 600 "$token"
  if ((EUID == 0)); then chown "$1" "$token"; fi
  word=$(<"$token")
  [[ $word =~ ^[A-Za-z0-9._~+/=-]{16,}$ ]] || die "$token: not a token: at least 16 of A-Z a-z 0-9 . _ ~ + / = -"
  (umask 077 && printf 'oauth2-bearer = "%s"\nnoproxy = "*"\n' "$word" >"$WINNOW_STATE/curl.conf.new")
  mv -T -- "$WINNOW_STATE/curl.conf.new" "$WINNOW_STATE/curl.conf"
}

# Other containers do not reach logd: it has a network of its own.
our_networks() { docker network ls --quiet --filter "label=winnow.state=$WINNOW_STATE" --filter "name=^$WINNOW_NAME-logd\$"; }
start_network() {
  [[ -z $(our_networks) ]] || return 0
  docker network create --label "winnow.state=$WINNOW_STATE" "$WINNOW_NAME-logd" 2>&1 >/dev/null | report --text >&2
}
remove_network() {
  local id
  id=$(our_networks) || return 1
  [[ -z $id ]] || docker network rm "$id" 2>&1 >/dev/null | report --text >&2
}

# start_logd leaves one alone that runs from the same image in the same way.
start_logd() {
  local user=65532:65532 name=$WINNOW_NAME-logd image as i=0
  mkdir -p -- "$WINNOW_STATE/log"
  if ((EUID == 0)); then chown "${user%:*}" "$WINNOW_STATE/log"; else user=$(id -u):$(id -g); fi
  chmod 2750 "$WINNOW_STATE/log" # what is in it is for the directory's group, whichever that is
  make_token "$user"
  image=$(docker image inspect --format '{{.Id}}' winnow/logd)
  as="$image $WINNOW_STATE $WINNOW_PORT $WINNOW_RETAIN $WINNOW_RETAIN_SIZE $(stat --format %i.%.9Y "$WINNOW_STATE/token")"
  if [[ $(docker inspect --format '{{.State.Running}} {{index .Config.Labels "winnow.as"}}' "$name" 2>/dev/null) == "true $as" ]]; then
    return
  fi
  remove_logd
  until port_is_free || ((++i == 25)); do sleep 0.2; done # the one before gives it back a little later
  port_is_free || die "WINNOW_PORT=$WINNOW_PORT is taken by another program"
  start_network
  docker run --detach --name "$name" --label winnow.protect=true --label "winnow.as=$as" --label "winnow.state=$WINNOW_STATE" \
    --restart unless-stopped --user "$user" --read-only --cap-drop ALL --security-opt no-new-privileges --memory 128m \
    --volume "$WINNOW_STATE/log:/log" --volume "$WINNOW_STATE/token:/token:ro" --network "$name" --publish "127.0.0.1:$WINNOW_PORT:7070" \
    winnow/logd --allow-host "$name" --retain "$WINNOW_RETAIN" --retain-bytes "$WINNOW_RETAIN_SIZE" --compress 2>&1 >/dev/null | report --text >&2
}

port_is_free() { ! (exec 3<>"/dev/tcp/127.0.0.1/$WINNOW_PORT") 2>/dev/null; }

wait_for_logd() {
  local i
  for ((i = 0; i < 100; i++)); do
    if ask_logd / --max-time 2 --output /dev/null 2>/dev/null; then return; fi
    sleep 0.1
  done
  docker logs "$WINNOW_NAME-logd" 2>&1 | tail -n 5 | report --text >&2 || true
  die "logd does not answer on 127.0.0.1:$WINNOW_PORT"
}
