# The lines that classify would write under its default policy, but for the
# reasons, one snapshot in memory at a time: jq -ncf verdicts.jq < records
inputs as $host
| [limit($host.containers; inputs)]
| input as $last
| map(.class = if .cpu_percent >= 50 or .memory_kb >= $host.total_memory_kb / 10 then "high"
    elif .cpu_percent == null then null else "low" end)
| ([.[]
    | select(.cpu_percent != null and .interval_ms >= 5000 and $last.lines == $host.containers + 1 and .labels["winnow.managed"] == "true" and .labels["winnow.protect"] != "true")
    | {id, class, load: ([.cpu_percent / 50, .memory_kb / ($host.total_memory_kb / 10)] | max)}]
  | group_by(.class)
  | map(sort_by(.load, .id) | to_entries[] | {key: .value.id, value: (.key + 1)})
  | from_entries) as $ranks
| $host,
  (.[]
    | .rank = $ranks[.id]
    | .verdict = if (.rank // 0) > (if .class == "high" then 2 else 3 end) then "kill" else "keep" end),
  $last
