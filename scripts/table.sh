# shellcheck shell=sh disable=SC2034 # for who sources it
# table.sh is what can be set, and the version of what is kept. It is POSIX sh, for the agent has it too.

version=1 # of the state directory, and of the file of settings

# A line a setting: its name, default, kind (+ refuses zero), and the most that it may be.
table='
  WINNOW_NAME          winnow    name
  WINNOW_HOST          none      host
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
  WINNOW_LOG         none      url
  WINNOW_SPOOL_MAX     64MB      size
  WINNOW_RETAIN        30d       age
  WINNOW_RETAIN_SIZE   10GB      size
'
