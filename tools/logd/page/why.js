import { clock, element, fill, heading, known, row, story } from "./common.js";

const $ = (id) => document.getElementById(id);

function fact(name, ...content) {
  $("facts").append(element("dt", "", name), element("dd", "", ...content));
}

// local has the times in a text as the reader's clock shows them.
const local = (text) => text.replace(/\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z/g, clock);

function show(s) {
  document.title = "winnow: " + (s.name || s.id);
  $("name").textContent = s.name || s.id;
  $("answer").replaceChildren(...s.answer.map((sentence) => element("p", "", local(sentence))));
  $("answer").className = s.latest ? known(s.latest.verdict) : s.end ? "kill" : "";
  fact("Image", s.image || "not known");
  fact("Host", s.host);
  fact("Id", s.id);
  if (s.created) fact("Created", clock(s.created));
  fact("Seen", clock(s.first) + " to " + clock(s.last));
  const labels = Object.entries(s.labels).map(([key, value]) => key + "=" + value);
  if (labels.length) fact("Labels", labels.join(", "));
  if (s.others.length) fact("Others of its name", ...s.others.flatMap((id, i) => (i ? [", ", story(id)] : [story(id)])));
  showConsidered(s);
  showSamples(s);
  $("state").textContent = "as of " + clock(Date.now());
}

function showConsidered(s) {
  if (!s.considered.length) return;
  $("considered").closest("section").hidden = false;
  const condemned = s.considered.find((c) => c.id === s.id)?.verdict === "kill";
  $("considered-when").textContent = "The " + s.considered.length + " containers of the snapshot in which it was last " + (condemned ? "condemned" : "seen") +
    (s.considered_more ? " (" + s.considered_more + " more are not shown)" : "") + ", by class and rank:";
  const [classOf, rankOf] = [(c) => c.class || "", (c) => c.rank || 0];
  s.considered.sort((a, b) => (classOf(a) < classOf(b) ? -1 : classOf(a) > classOf(b) ? 1 : rankOf(a) - rankOf(b)));
  heading($("considered").parentElement, ["name", { title: "Name" }], false);
  for (const c of s.considered) {
    const self = c.id === s.id;
    const tr = row(self ? (c.name || "") + " (this one)" : story(c.id, c.name), false);
    if (self) tr.className = "self";
    $("considered").append(fill(tr, c, false));
  }
}

function showSamples(s) {
  if (!s.samples.length) return;
  $("samples").closest("section").hidden = false;
  $("samples-note").textContent = s.samples.length < s.sample_count
    ? s.samples.length + " of " + s.sample_count + ", all changes of class, verdict and notice among them; the newest first."
    : s.sample_count + ", the newest first.";
  heading($("samples").parentElement, ["time", { title: "Time" }], false);
  for (const c of s.samples.reverse()) $("samples").append(fill(row(clock(c.time), false), c, false));
}

try {
  const response = await fetch(location.pathname, { headers: { Accept: "application/json" } });
  const answer = await response.json();
  if (!response.ok) throw new Error(answer.error);
  show(answer);
} catch (error) {
  $("state").className = "gone";
  $("state").textContent = error.message;
}
