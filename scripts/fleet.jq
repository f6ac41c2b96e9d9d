# fleet.jq tells of each host which agent it has, from what Docker says of $services, $tasks and $nodes, and from
# $ages, the lines of logd's /metrics about hosts.
def environment: [.ContainerSpec.Env[]? | capture("^(?<key>[^=]+)=(?<value>.*)$")] | from_entries;
def configs: [.ContainerSpec.Configs[]?.ConfigName | split("_")[-1]];
def deployed: [.ContainerSpec.Image, environment, configs];
def policy: environment.WINNOW_POLICY // "none" | split("/")[-1];
def metric($name): [$ages | split("\n")[] | capture("^\($name)\\{host=\"(?<key>[^\"]+)\"\\} (?<value>.*)$") | .value |= tonumber] | from_entries;
metric("winnow_host_snapshot_timestamp_seconds") as $at | metric("winnow_host_silent") as $silent
| $nodes[0] as $nodes | $services[0] as $services | ($tasks[0] // []) as $tasks
| ($services[] | . as $service | .Spec.TaskTemplate as $template
  | ($template | environment.WINNOW_HOST) as $host
  | ($template.Placement.Constraints[0] | split("== ")[1]) as $id
  | (first($nodes[] | select(.ID == $id)) // {Status: {State: "gone"}}) as $node
  | ([$tasks[] | select(.ServiceID == $service.ID)] | sort_by(.CreatedAt)) as $mine
  | (($mine | map(select(.DesiredState == "running" and .Status.State == "running")) | last) // ($mine | last)) as $task
  | (.UpdateStatus.State // "completed") as $update
  | {host: $host, node: $node.Status.State, state: ($task.Status.State // "none"), since: $task.Status.Timestamp,
     policy: (if $task then ([$task.Spec | policy] + ($task.Spec | configs) | join("@")) else null end),
     age_seconds: (if $at[$host] then now - $at[$host] | floor else null end),
     rolled_back: ($update | test("rollback|paused")),
     settled: (($update | test("^(completed|rollback_completed|paused|rollback_paused)$")) and $task and ($task.Spec | deployed) == ($template | deployed))}
  | .settled = (.settled and .state == "running" or .node != "ready" or ($mine | map(select(.Status.State == "failed" or .Status.State == "rejected")) | length) > 2)
  | .problem = if .node != "ready" then "its node is \(.node)"
      elif .state != "running" then "no agent runs: \($task.Status.Err // "it is \(.state)")"
      elif .rolled_back then "the last rollout failed and was taken back: \(($mine | map(.Status.Err // empty) | last) // $service.UpdateStatus.Message)"
      elif $ages == "" then "the log does not answer"
      elif .age_seconds == null then "no snapshot has reached the log"
      elif $silent[$host] == 1 then "it has fallen silent" else null end),
  ($nodes[] | select(.Spec.Availability != "drain") | select(.ID as $id | all($services[].Spec.TaskTemplate.Placement.Constraints[0]; endswith($id) | not))
    | {host: (.Spec.Labels["winnow.host"] // .Description.Hostname), node: .Status.State, state: "none", since: null, policy: null,
       age_seconds: null, rolled_back: false, settled: true, problem: "it has no agent: call fleet up"})
