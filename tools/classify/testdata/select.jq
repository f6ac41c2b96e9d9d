# The ids that classify would have killed under its default policy, one snapshot
# in memory at a time: jq -nrf select.jq < records
inputs as $host
| [limit($host.containers; inputs)]
| select(input.lines == $host.containers + 1)
| map(
    select(.cpu_percent != null and .interval_ms >= 5000 and .labels["winnow.managed"] == "true" and .labels["winnow.protect"] != "true")
    | {id, load: ([.cpu_percent / 50, .memory_kb / ($host.total_memory_kb / 10)] | max)})
| group_by(.load >= 1)[]
| sort_by(.load, .id)
| .[(if .[0].load >= 1 then 2 else 3 end):][].id
