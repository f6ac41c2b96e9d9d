# shellcheck shell=bash
# kinds.sh is what the value of a setting may be, by its kind, and how to say so.

declare -A pattern=(
  [name]='[A-Za-z0-9][A-Za-z0-9_.-]{0,39}'
  [host]='[A-Za-z0-9][A-Za-z0-9_.-]{0,252}'
  [text]='[^[:cntrl:]]+'
  [number]='[0-9]{1,6}(\.[0-9]{1,6})?'
  [cpus]='[0-9]{1,6}(\.[0-9]{1,2})?'
  [count]='0|[1-9][0-9]{0,5}'
  [time]='([0-9]{1,6}(\.[0-9]{1,6})?(ms|s|m|h))+'
  [beat]='[1-9][0-9]{0,4}|([0-9]{1,6}(\.[0-9]{1,6})?(ms|s|m|h))+'
  [stall]='none|[1-9][0-9]{0,4}ms/[1-9][0-9]{0,4}m?s'
  [age]='[0-9]{1,4}(d|h)'
  [size]='[0-9]{1,15}[bB]?|[0-9]{1,6}(\.[0-9]{1,6})?[kKmMgGtT][iI]?[bB]?'
  [memory]='([6-9]|[1-9][0-9]{1,5})[mM][bB]?|[1-9][0-9]{0,3}[gG][bB]?'
  [order]='heaviest|lightest|newest|oldest'
  [port]='[1-9][0-9]{0,4}'
  [switch]='0|1'
  [url]='none|https?://[^[:space:][:cntrl:]]+'
  [policy]='none|/[^[:cntrl:]]+'
)
pattern[bound]="none|([0-9]{1,2}(\.[0-9]{1,6})?|100)%|${pattern[size]}"
pattern[share]="([0-9]{1,2}(\.[0-9]{1,6})?|100)%|${pattern[size]}"
declare -A words=(
  [name]='at most 40 letters, digits, dots, dashes and underscores' [text]='text without control characters'
  [host]='a name of letters, digits, dots, dashes and underscores, or none'
  [number]='a number above 0, such as 5 or 2.5' [cpus]='a number of CPUs from 0.01 on' [count]='a whole number from 0 to 999999'
  [beat]='a whole number of seconds, or a time such as 500ms or 1m30s' [time]='a time such as 5s or 1m30s' [age]='an age such as 30d or 12h'
  [size]='a size such as 64MB' [memory]='a size from 6m on' [share]='a share such as 10%, or a size such as 64MB'
  [stall]='a time of stall in a window, such as 150ms/1s, or none'
  [bound]='a share such as 10%, a size such as 64MB, or none'
  [order]='heaviest, lightest, newest or oldest' [port]='a port from 1 to 65535' [switch]='0 or 1'
  [url]='an address such as https://logs.example:7070, or none'
  [policy]='the absolute path of a policy file, or none'
)

# millis TIME sets REPLY to a time such as 1m30s in milliseconds, rounded up; a
# bare number counts as seconds.
millis() {
  local text=$1 fraction
  local -A unit=([ms]=1 [s]=1000 [m]=60000 [h]=3600000)
  REPLY=0
  while [[ $text =~ ^([0-9]+)(\.([0-9]*))?([a-z]*)(.*)$ ]]; do
    fraction=${BASH_REMATCH[3]}000000 text=${BASH_REMATCH[5]}
    REPLY=$((REPLY + ((10#${BASH_REMATCH[1]} * 1000000 + 10#${fraction:0:6}) * ${unit[${BASH_REMATCH[4]:-s}]:-0} + 999999) / 1000000))
  done
}
more() {
  millis "$1"
  local a=$REPLY
  millis "$2"
  ((a > REPLY))
}

# valid NAME VALUE KIND [MOST|nproc] ends the script where the value cannot be meant.
valid() {
  local LC_ALL=C of=${3%+} most=${4:-} wrong=
  if [[ $most == nproc ]]; then most=$(nproc --all); fi
  [[ $2 =~ ^(${pattern[$of]})$ ]] || wrong="${words[$of]}"
  if [[ -z $wrong && $3 == *+ && ! $2 =~ [1-9] ]]; then wrong="above 0"; fi
  if [[ -z $wrong && -n $most ]] && more "$2" "$most"; then wrong="at most $most"; fi
  [[ -n $wrong ]] || return 0
  say "$1 must be $wrong: $(printf '%q' "$2")"
  exit 2
}
