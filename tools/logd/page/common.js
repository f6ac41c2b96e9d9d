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

// cell is one of a table whose rows may be laid out in other ways.
export function cell(className, ...content) {
  const td = element("td", className, ...content);
  td.setAttribute("role", "cell");
  return td;
}

// labelled is a number's cell, with what it says where the heading is far off.
export function labelled(label, ...content) {
  const td = cell("number", ...content);
  td.dataset.label = label;
  return td;
}

export function row() {
  const tr = element("tr");
  tr.setAttribute("role", "row");
  return tr;
}
