// What the pages have alike. Text from the log only ever becomes text: nothing
// here makes HTML of it.

// element makes one: its class, its text or children.
export function element(tag, className, ...content) {
  const e = document.createElement(tag);
  if (className) e.className = className;
  e.append(...content);
  return e;
}

// known is a word of the record contract that a style goes with, or none.
export function known(word) {
  return ["low", "high", "keep", "warn", "kill", "failed"].includes(word) ? word : "";
}

export function size(kb) {
  if (kb >= 1 << 20) return (kb / (1 << 20)).toFixed(2) + " GiB";
  if (kb >= 1 << 10) return (kb / (1 << 10)).toFixed(1) + " MiB";
  return Math.round(kb) + " KiB";
}

export function percent(value) {
  return value === null || value === undefined ? "not yet" : value.toFixed(1) + " %";
}

export function clock(time) {
  const at = new Date(time);
  if (isNaN(at)) return "";
  const options = { hour: "2-digit", minute: "2-digit", second: "2-digit", hour12: false };
  if (at.toDateString() !== new Date().toDateString()) Object.assign(options, { day: "numeric", month: "short" });
  return at.toLocaleString("en-GB", options);
}

export function ago(seconds) {
  if (seconds < 90) return Math.round(seconds) + " s";
  if (seconds < 5400) return Math.round(seconds / 60) + " min";
  if (seconds < 172800) return Math.round(seconds / 3600) + " h";
  return Math.round(seconds / 86400) + " days";
}

// story is a link to what became of a container.
export function story(id, name) {
  const link = element("a", "", name || id.slice(0, 12));
  link.href = "/why/" + encodeURIComponent(id);
  return link;
}

// said is a verdict, with what a rule that is dry would have said, and from when on a warning may be carried out.
function said(c) {
  return (c.verdict || "–") + (c.would ? ", would " + c.would : "") + (c.verdict === "warn" && c.kill_at ? ", kill " + clock(c.kill_at) : "");
}

// columns are the members of a container line that the tables show: a row each, by the member's name. Where a label is,
// the cell says it itself on a page that is too narrow for headings.
const columns = {
  class: { title: "Class", text: (c) => c.class || "–", style: (c) => known(c.class) },
  verdict: { title: "Verdict", text: said, style: (c) => known(c.verdict) },
  cpu_percent: { title: "CPU", label: "CPU", text: (c) => percent(c.cpu_percent), style: () => "number" },
  memory_kb: { title: "Memory", label: "mem", text: (c) => size(c.memory_kb), style: () => "number" },
  image: { title: "Image", text: (c) => c.image || "", onlyLive: true }, // a story says it once
  reason: { title: "Reason", text: (c) => c.reason || "", style: () => "reason" },
};

function shown(live) {
  return Object.entries(columns).filter(([, column]) => live || !column.onlyLive);
}

// heading makes a table's headings: that of its first column, which is the table's own, and those of the others. Where
// sort is given it is called with a column's name, and whether that holds numbers.
export function heading(table, first, live, sort) {
  const tr = table.tHead.rows[0];
  for (const [key, { title, label }] of [first, ...shown(live)]) {
    const th = element("th", label ? "number" : "");
    th.setAttribute("role", "columnheader");
    th.scope = "col";
    if (sort) {
      const button = element("button", "", title);
      button.type = "button";
      button.addEventListener("click", () => sort(key, Boolean(label)));
      th.dataset.key = key;
      th.append(button);
    } else th.append(title);
    tr.append(th);
  }
}

function cell() {
  const td = element("td");
  td.setAttribute("role", "cell");
  return td;
}

// row makes one of a container: its first cell, with this content, and empty ones for the others.
export function row(content, live) {
  const tr = element("tr");
  tr.setAttribute("role", "row");
  tr.append(cell(), ...shown(live).map(([, { label }]) => {
    const td = cell();
    if (label) td.dataset.label = label;
    return td;
  }));
  tr.cells[0].append(content);
  return tr;
}

// fill writes a container's figures into a row. What stays the same is not written.
export function fill(tr, c, live) {
  shown(live).forEach(([, { text, style }], i) => {
    const td = tr.cells[i + 1];
    if (td.textContent !== text(c)) td.textContent = text(c);
    td.className = style ? style(c) : "";
  });
  return tr;
}
