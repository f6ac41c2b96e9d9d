# Reads `go test -json` line by line and says what a person wants of it: each package with its time, what failed printed,
# and of a skipped test why. `$skips` false leaves the skipped out; $last ends each.
foreach (inputs | fromjson? // {}) as $e ({};
  .show = null
  | "\($e.Package // $e.ImportPath) \($e.Test // "")" as $id
  | if $e.Action == "output" or $e.Action == "build-output" then .out[$id] += $e.Output
    elif $e.Action == "fail" or $e.Action == "build-fail" then .show = "FAIL \($id) \($e.Elapsed // 0) s\n" + (.out[$id] // "") | del(.out[$id])
    elif $e.Action == "skip" and $e.Test and $skips then
      .show = "SKIP \($id): " + (.out[$id] // "" | split("\n") | map(select(test("^(===|---)") | not) | gsub("^ +"; "")) | join(" ")) | del(.out[$id])
    elif $e.Action == "pass" and ($e.Test | not) then .show = "ok   \($e.Package) " + (if .out[$id] // "" | test("\\(cached\\)") then "as before" else "\($e.Elapsed) s" end) | del(.out[$id])
    elif $e.Action == "pass" or $e.Action == "skip" then del(.out[$id])
    else . end;
  .show // empty | . + $last)
