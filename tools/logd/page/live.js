import { ago, clock, element, fill, heading, known, percent, row, size, story } from "./common.js";

const $ = (id) => document.getElementById(id);
const goneAfter = 12000; // ms without a word of logd, which ticks each 5 s
const chartEvery = 30000; // ms

const parameters = new URLSearchParams(location.search);
let source, state, heard = 0, offset = 0, lostAt = null, chartsAt = 0, newestEvent = null;
let sort = { key: "cpu_percent", down: true };

function connect() {
  if (source) source.close();
  const host = parameters.get("host");
  source = new EventSource("/events" + (host ? "?host=" + encodeURIComponent(host) : ""));
  source.addEventListener("state", (event) => {
    state = JSON.parse(event.data);
    alive(state.now);
    show();
  });
  source.addEventListener("tick", (event) => alive(JSON.parse(event.data)));
  source.addEventListener("again", connect);
  source.onerror = () => {
    lostAt ??= Date.now();
    showConnection();
    if (source.readyState === EventSource.CLOSED) setTimeout(connect, 3000);
  };
}

function alive(now) {
  heard = Date.now();
  offset = Date.parse(now) - heard;
  lostAt = null;
  showConnection();
}

// showConnection says whether what is shown is true now.
function showConnection() {
  if (!lostAt && heard && Date.now() - heard > goneAfter) lostAt = heard;
  const box = $("state");
  const say = (className, text) => {
    if (box.className !== className) box.className = className;
    if (box.textContent !== text) box.textContent = text;
    document.body.classList.toggle("gone", className === "gone");
  };
  if (lostAt) return say("gone", "logd cannot be reached since " + clock(lostAt) + "; trying again");
  if (!state) return;
  if (!state.host) return say("stale", "no snapshot has arrived yet");
  const shown = silent().find((host) => host.name === state.shown);
  if (shown) return say("stale", "silent: the last snapshot came " + ago(shown.age) + " ago");
  say("live", "live");
}

// silent are the hosts of which nothing was heard for three of their own beats, with their ages in seconds.
function silent() {
  const now = Date.now() + offset;
  return state.hosts.filter((host) => host.heard && now - Date.parse(host.heard) > host.silent_ms)
    .map((host) => ({ name: host.name, age: (now - Date.parse(host.heard)) / 1000 }));
}

// showSilent says so of the hosts that are not shown.
function showSilent() {
  const others = !lostAt ? silent().filter((host) => host.name !== state.shown) : [];
  const text = others.length ? "Silent: " + others.slice(0, 10).map((host) => host.name + " for " + ago(host.age)).join(", ") +
    (others.length > 10 ? " and " + (others.length - 10) + " more" : "") : "";
  if ($("silent").textContent !== text) $("silent").textContent = text;
}

// showAll lists the hosts, those that are silent first.
function showAll() {
  $("all").hidden = state.hosts.length < 2;
  const quiet = new Map(silent().map((host) => [host.name, host.age]));
  const sum = (key) => state.hosts.reduce((all, host) => all + host[key], 0);
  $("all").firstElementChild.textContent = state.hosts.length + " hosts, " + quiet.size + " silent; " + sum("containers") + " containers, " + sum("condemned") + " to be killed";
  if (!$("all").open) return;
  const order = [...state.hosts].sort((a, b) => quiet.has(b.name) - quiet.has(a.name)); // by name otherwise, as they come
  // One that stays where it is keeps its element, so that the focus stays in it.
  while ($("hosts").children.length > order.length) $("hosts").lastElementChild.remove();
  order.forEach((host, i) => {
    const li = $("hosts").children[i] || $("hosts").appendChild(element("li", "", element("a"), element("span", "silent"), element("span")));
    const [link, age, figures] = li.children;
    if (link.textContent !== host.name) {
      link.textContent = host.name;
      link.href = "?host=" + encodeURIComponent(host.name);
    }
    age.textContent = quiet.has(host.name) ? " silent for " + ago(quiet.get(host.name)) : "";
    figures.textContent = ": " + host.containers + " containers" + (host.condemned ? ", " + host.condemned + " to be killed" : "") + ", " +
      size(host.available_memory_kb) + " of " + size(host.total_memory_kb) + " available";
  });
}

function show() {
  showHosts();
  showAll();
  showGauges();
  showRows();
  showEvents();
  if (Date.now() - chartsAt > chartEvery) showCharts();
}

function showHosts() {
  $("shown").textContent = state.shown || "";
  $("host-label").hidden = state.hosts.length < 2;
  const select = $("host");
  const names = state.hosts.map((host) => host.name);
  if ([...select.options].map((o) => o.value).join("\n") !== names.join("\n")) {
    select.replaceChildren(...names.map((name) => new Option(name, name)));
  }
  select.value = state.shown;
}

function showGauges() {
  const h = state.host;
  if (!h) return;
  const containers = state.containers || [];
  const cpu = containers.reduce((sum, c) => sum + (c.cpu_percent || 0), 0);
  const gauges = [
    ["Memory used", h.used_memory_kb, h.total_memory_kb, size(h.used_memory_kb) + " of " + size(h.total_memory_kb)],
    ["Memory available", h.available_memory_kb, h.total_memory_kb, size(h.available_memory_kb)],
    ["CPU of the containers", cpu, h.cpus * 100, percent(cpu) + " of " + h.cpus * 100 + " %"],
  ];
  for (const [name, key] of [["CPU", "cpu"], ["memory", "memory"], ["disk", "io"]]) {
    const value = h[key + "_pressure_percent"];
    gauges.push(["Waiting for " + name, value ?? 0, 100, value === null || value === undefined ? "not told by this kernel" : percent(value) + " of the last 10 s"]);
  }
  $("gauges").replaceChildren(...gauges.map(([name, value, max, text]) => {
    const meter = element("meter");
    meter.max = max || 1;
    meter.value = value;
    meter.setAttribute("aria-label", name);
    meter.textContent = text;
    return element("div", "", element("dt", "", name), element("dd", "", text, meter));
  }));
}

function compare(a, b) {
  const x = a[sort.key] ?? -1, y = b[sort.key] ?? -1;
  const order = typeof x === "number" && typeof y === "number" ? x - y : String(x).localeCompare(String(y), undefined, { numeric: true });
  return (sort.down ? -order : order) || (a.id < b.id ? -1 : 1);
}

function showRows() {
  const containers = [...(state.containers || [])].sort(compare);
  const count = (key, value) => containers.filter((c) => c[key] === value).length;
  $("summary").textContent = containers.length + " running: " + count("class", "low") + " low, " + count("class", "high") + " high, " +
    (count("verdict", "warn") ? count("verdict", "warn") + " warned, " : "") + count("verdict", "kill") + " to be killed" + (state.missing ? "; " + state.missing + " more are not shown" : "") + (state.host ? "; as of " + clock(state.host.time) : "");
  for (const th of document.querySelectorAll("#table th")) {
    th.setAttribute("aria-sort", th.dataset.key !== sort.key ? "none" : sort.down ? "descending" : "ascending");
  }
  // A row that stays keeps its element, so that the focus stays in it.
  const old = new Map([...$("rows").children].map((tr) => [tr.dataset.id, tr]));
  let before = $("rows").firstChild;
  for (const c of containers) {
    const tr = old.get(c.id) || newRow(c);
    old.delete(c.id);
    fill(tr, c, true);
    if (tr === before) before = before.nextSibling;
    else $("rows").insertBefore(tr, before);
  }
  for (const tr of old.values()) tr.remove();
}

function newRow(c) {
  const tr = row(story(c.id, c.name), true);
  tr.dataset.id = c.id;
  return tr;
}

// showEvents lists the warnings that stand, and then the kills and the notices that were withdrawn.
function showEvents() {
  const warned = (state.containers || []).filter((c) => c.verdict === "warn");
  const past = [...(state.kills || []), ...(state.withdrawn || [])].sort((a, b) => Date.parse(b.time) - Date.parse(a.time));
  $("no-events").hidden = warned.length + past.length > 0;
  $("events").replaceChildren(...[...warned, ...past].map((e) => {
    const time = element("time", "", clock(e.time));
    time.dateTime = e.time;
    return element("li", "", time, story(e.id, e.name), " ", ...(e.class ? ["(", element("span", known(e.class), e.class), ") "] : []), outcome(e), e.reason ? " – " + e.reason : "");
  }));
  const newest = past[0] && past[0].time + past[0].id;
  if (newestEvent !== null && newest && newest !== newestEvent) $("news").textContent = (past[0].name || past[0].id) + ": " + (past[0].result || past[0].event);
  newestEvent = newest || "";
}

// outcome is what an event comes to: a warning, a kill, or a notice that was withdrawn.
function outcome(e) {
  if (e.verdict) return element("span", "warn", "warned" + (e.kill_at ? ", to be killed from " + clock(e.kill_at) + " on" : ""));
  if (e.event) return "notice " + e.event + (e.rule ? " (" + e.rule + (e.mode === "dry" ? ", dry" : "") + ")" : "");
  return element("span", e.result === "failed" ? "failed" : "", e.result === "killed" ? "killed" : "not killed (" + e.result + (e.error ? ": " + e.error : "") + ")");
}

const dark = matchMedia("(prefers-color-scheme: dark)");

function showCharts() {
  if (!state) return;
  chartsAt = Date.now();
  const common = "since=" + encodeURIComponent($("span").value) + "&host=" + encodeURIComponent(state.shown || "");
  for (const { name, about } of state.charts) {
    let link = document.getElementById("chart-" + name);
    if (!link) {
      const picture = element("img");
      picture.alt = about;
      picture.loading = "lazy";
      link = element("a", "", picture);
      link.id = "chart-" + name;
      $("charts").append(link);
    }
    link.href = "/charts/" + name + ".svg?" + common;
    link.firstChild.src = link.href + "&theme=" + (dark.matches ? "dark" : "light") + "&t=" + chartsAt;
  }
}

heading($("table"), ["name", { title: "Name" }], true, (key, numeric) => {
  sort = { key, down: sort.key === key ? !sort.down : numeric };
  if (state) showRows();
});
$("host").addEventListener("change", () => {
  parameters.set("host", $("host").value);
  history.replaceState(null, "", "?" + parameters);
  chartsAt = 0;
  newestEvent = null;
  connect();
});
$("all").addEventListener("toggle", () => state && showAll());
$("span").addEventListener("change", showCharts);
dark.addEventListener("change", showCharts);
setInterval(() => {
  showConnection();
  if (!state) return;
  showSilent();
  showAll(); // a host falls silent without news of it
}, 1000);
setInterval(() => { if (!lostAt && state && Date.now() - chartsAt > chartEvery) showCharts(); }, 5000);
connect();
