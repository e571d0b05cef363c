"use strict";
// The page of `gentrain compare`. Everything that comes from runs is set as text; nothing here builds HTML out of strings.

const $ = (id) => document.getElementById(id);
const read = (id) => JSON.parse($(id).textContent);
const data = read("data");

// eight colours that the colour-blind tell apart, in the light and in the dark; then the same with other strokes
const COLORS = ["#2f7ed8", "#e07b00", "#2a9d63", "#cc4b9b", "#c0392b", "#8a6fd1", "#8c7a2b", "#2aa7b8"];
const DASHES = ["solid", "dash", "dot"], BORDERS = ["solid", "dashed", "dotted"];
data.groups.forEach((group, i) => {
  group.color = COLORS[i % COLORS.length];
  group.stroke = Math.floor(i / COLORS.length) % DASHES.length;
  group.shown = true;
  group.runs = [];
});
data.runs.forEach((run) => data.groups[run.group].runs.push(run));

/** An element: el("td", {class: "name"}, "text", child). */
function el(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== null && value !== undefined && value !== false) made.setAttribute(name, value === true ? "" : value);
  }
  made.append(...children.filter((child) => child !== null));
  return made;
}

function swatch(group) {
  const made = el("span", { class: "swatch", "aria-hidden": true });
  paint(made, group);
  return made;
}

function paint(element, group) {
  element.style.setProperty("--color", group.color);
  element.style.setProperty("--style", BORDERS[group.stroke]);
}

const missing = (value) => value === null || value === undefined;
const digits = (value) => (missing(value) ? "–" : String(Number(value.toPrecision(4))));
const whole = (value) => (missing(value) ? "–" : Math.round(value).toLocaleString("en"));
const round = (value) => value.toLocaleString("en", { maximumFractionDigits: value < 10 ? 1 : 0 });
function duration(seconds) {
  if (missing(seconds)) return "–";
  return seconds < 60 ? `${round(seconds)} s` : seconds < 3600 ? `${round(seconds / 60)} min` : `${round(seconds / 3600)} h`;
}
const spread = (pair) => (!pair ? "–" : pair[1] === null ? digits(pair[0]) : `${digits(pair[0])} ± ${Number(pair[1].toPrecision(2))}`);
const BAD = ["failed", "diverged", "missing"];

// --- how it went ---------------------------------------------------------------------------------------------------------

function header() {
  const runs = data.runs.length, groups = data.groups.length;
  const seeds = runs === groups ? "" : ` in ${groups} groups of equal configuration`;
  $("about").textContent = `${data.places.join(", ")}: ${runs} run${runs === 1 ? "" : "s"}${seeds}; made ${data.made}`;
  const counts = {};
  data.runs.forEach((run) => (counts[run.status] = (counts[run.status] || 0) + 1));
  for (const [status, count] of Object.entries(counts).sort()) {
    $("counts").append(el("li", { class: BAD.includes(status) ? "bad" : status === "completed" ? "good" : null }, `${count} ${status}`));
  }
  const failed = data.runs.filter((run) => BAD.includes(run.status)).sort((a, b) => (a.name < b.name ? -1 : 1));
  $("failed").hidden = !failed.length;
  for (const run of failed) {
    const why = run.reason ? `: ${run.reason}` : "";
    const more = [run.overrides, run.log && `log: ${run.log}`].filter(Boolean).join("; ");
    $("failed").querySelector("ul").append(el("li", {}, el("b", {}, run.name), ` ${run.status}${why}`, el("small", {}, more)));
  }
}

// --- scores --------------------------------------------------------------------------------------------------------------

const COLUMNS = [
  { head: "rank", of: (row) => row.rank, text: (value) => value ?? "–" },
  { head: "group", of: (row) => row.group.label, name: true },
  { head: "final", of: (row) => row.group.final[row.score]?.[0], cell: (row) => spread(row.group.final[row.score]) },
  { head: "best", of: (row) => row.group.best[row.score]?.[0], cell: (row) => spread(row.group.best[row.score]) },
  { head: "seeds", of: (row) => row.group.counted },
  { head: "collapsed", of: (row) => row.group.collapsed, text: (value) => value ?? "–", grave: true },
  { head: "diverged", of: (row) => row.group.statuses.diverged || 0, grave: true },
  { head: "status", of: (row) => states(row.group), words: true },
  { head: "steps", of: (row) => row.group.steps, text: whole },
  { head: "images/s", of: (row) => row.group.rate, text: whole },
  { head: "time", of: (row) => row.group.seconds, text: duration },
];

const states = (group) => Object.entries(group.statuses).sort().map(([status, count]) => `${count} ${status}`).join(", ");

function scores() {
  data.tables.forEach((table) => {
    const better = !table.score ? "" : !table.ranked ? " (no score: not ranked)" : data.greater.includes(table.score) ? " (more is better)" : " (less is better)";
    $("tables").append(el("h3", {}, (table.score || "Without scores") + better, el("small", {}, table.about)), sortable(table));
  });
}

function sortable(table) {
  const rows = table.rows.map(([rank, number]) => ({ rank, group: data.groups[number], score: table.score }));
  const body = el("tbody");
  const heads = COLUMNS.map((column) => {
    const button = el("button", { type: "button" }, column.head);
    const head = el("th", { scope: "col", class: column.name ? "name" : column.words ? "words" : null }, button);
    button.addEventListener("click", () => {
      const descending = head.getAttribute("aria-sort") === "ascending";
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", descending ? "descending" : "ascending");
      fill([...rows].sort((a, b) => order(column.of(a), column.of(b)) * (descending && known(column.of(a), column.of(b)) ? -1 : 1)));
    });
    return head;
  });
  const fill = (sorted) => body.replaceChildren(...sorted.map((row) => el("tr", {}, ...COLUMNS.map((column) => {
    const value = column.of(row), text = column.cell ? column.cell(row) : column.text ? column.text(value) : value;
    if (column.name) return el("th", { scope: "row", class: "name" }, el("div", {}, swatch(row.group), el("span", {}, text ?? value)));
    return el("td", { class: column.words ? "words" : column.grave && value ? "bad" : null }, String(text));
  }))));
  fill(rows);
  return el("div", { class: "scroll" }, el("table", {}, el("thead", {}, el("tr", {}, ...heads)), body));
}

const known = (a, b) => !missing(a) && !missing(b);

/** Numbers by size, words by the alphabet, what is missing last. */
function order(a, b) {
  if (!known(a, b)) return missing(a) - missing(b);
  return typeof a === "number" && typeof b === "number" ? a - b : String(a).localeCompare(String(b), "en", { numeric: true });
}

// --- curves --------------------------------------------------------------------------------------------------------------

/** y at x on the line through the points; null outside. */
function at(x, xs, ys) {
  if (!xs.length || x < xs[0] || x > xs[xs.length - 1]) return null;
  let low = 0, high = xs.length - 1;
  while (high - low > 1) {
    const middle = (low + high) >> 1;
    if (xs[middle] <= x) low = middle; else high = middle;
  }
  return xs[high] === xs[low] ? ys[low] : ys[low] + ((ys[high] - ys[low]) * (x - xs[low])) / (xs[high] - xs[low]);
}

function curve(run, value) {
  const found = run.curves.of[value];
  return found ? { steps: run.curves.axes[found[0]], values: found[1] } : null;
}

/** Steps as images, or as hours of the run; beyond the last that is known, at the pace so far. */
function scale(run, axis, steps) {
  if (axis === "steps") return steps;
  const [known, hours, images] = run.clock, last = known.length - 1;
  const values = axis === "images" ? images : hours;
  if (last < 1) return steps.map((step) => (axis === "images" ? step * run.images : null));
  return steps.map((step) => (step <= known[last] ? at(step, known, values) : (values[last] * step) / known[last]));
}

/** Mean, least and greatest of several seeds at the steps of the first of them that all have. */
function band(runs, value) {
  const curves = runs.map((run) => curve(run, value)).filter(Boolean);
  const longest = curves.reduce((a, b) => (b.steps.length > a.steps.length ? b : a));
  const mean = [], least = [], greatest = [], steps = [];
  for (const step of longest.steps) {
    const values = curves.map((one) => at(step, one.steps, one.values)).filter((y) => y !== null);
    steps.push(step);
    mean.push(values.reduce((a, b) => a + b, 0) / values.length);
    least.push(Math.min(...values));
    greatest.push(Math.max(...values));
  }
  return { steps, mean, least, greatest };
}

function traces(value, axis, each) {
  const made = [];
  for (const group of data.groups.filter((group) => group.shown)) {
    const runs = group.runs.filter((run) => run.curves.of[value]);
    const line = { color: group.color, width: 1.8, dash: DASHES[group.stroke] };
    const hover = (name) => `%{y:.4g} at %{x:.4g}<extra>${plainly(name)}</extra>`;
    const drawn = (x, y, name) => made.push({
      type: "scatter", x, y, line, name: plainly(name), hovertemplate: hover(name), mode: y.length === 1 ? "markers" : "lines", marker: { color: group.color },
    });
    if (each || runs.length < 2) {
      for (const run of runs) {
        const { steps, values } = curve(run, value);
        drawn(scale(run, axis, steps), values, runs.length < 2 ? group.label : `${group.label}, seed ${run.seed}`);
      }
      continue;
    }
    const { steps, mean, least, greatest } = band(runs, value);
    const clocks = runs.map((run) => scale(run, axis, steps));
    const x = steps.map((_, i) => clocks.reduce((sum, clock) => sum + clock[i], 0) / clocks.length);
    const edge = { type: "scatter", x, mode: "lines", line: { width: 0 }, hoverinfo: "skip" };
    made.push({ ...edge, y: least }, { ...edge, y: greatest, fill: "tonexty", fillcolor: group.color + "2e" });
    drawn(x, mean, `${group.label}, mean of ${runs.length} seeds`);
  }
  return made;
}

/** Plotly reads a few HTML tags in names: shown as they are typed. */
const plainly = (text) => text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;").replaceAll("%{", "%\u200b{");

function draw() {
  const value = $("value").value, axis = $("axis").value;
  const made = traces(value, axis, $("seeds").value === "each");
  $("how-many").textContent = `${data.groups.filter((group) => group.shown).length} of ${data.groups.length} groups`;
  $("nothing").hidden = made.length > 0;
  for (const group of data.groups) group.entry.classList.toggle("absent", !group.runs.some((run) => run.curves.of[value]));
  if (!window.Plotly) return;
  const style = getComputedStyle(document.documentElement), color = (name) => style.getPropertyValue(name).trim();
  const lines = { gridcolor: color("--line"), linecolor: color("--line"), zeroline: false, automargin: true };
  const title = (text) => ({ text, standoff: 8 });
  $("chart").setAttribute("aria-label", `${value} against ${axis}, ${made.length} lines`);
  Plotly.react($("chart"), made, {
    xaxis: { ...lines, title: title(axis) },
    yaxis: { ...lines, title: title(plainly(value)), type: $("log").checked ? "log" : "linear", exponentformat: "power" },
    autosize: true, margin: { l: 60, r: 12, t: 30, b: 48 }, showlegend: false, hovermode: "closest", hoverlabel: { namelength: -1, align: "left" },
    paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", font: { color: color("--ink"), family: "inherit", size: 13 },
    uirevision: `${value} ${axis}`, modebar: { bgcolor: "rgba(0,0,0,0)", color: color("--faint"), activecolor: color("--accent") },
  }, { responsive: true, displaylogo: false, displayModeBar: true, modeBarButtons: [["zoom2d", "pan2d", "resetScale2d", "toImage"]] });
}

function curves() {
  for (const value of data.values) $("value").append(el("option", { value }, value));
  if (data.first) $("value").value = data.first;
  for (const group of data.groups) {
    group.tick = el("input", { type: "checkbox", checked: true });
    group.tick.addEventListener("change", () => show((one) => one.tick.checked));
    group.entry = el("label", {}, group.tick, swatch(group), group.label);
    $("groups").append(group.entry);
  }
  for (const id of ["value", "axis", "seeds", "log"]) $(id).addEventListener("change", draw);
  $("all").addEventListener("click", () => show(() => true));
  $("none").addEventListener("click", () => show(() => false));
  $("top").addEventListener("click", () => show((group) => best().includes(group)));
  $("install").textContent = data.install;
  $("install").hidden = !data.install;
  $("chart").hidden = Boolean(data.install);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
  draw();
}

/** The first five of the first table. */
const best = () => data.tables[0].rows.slice(0, 5).map(([, number]) => data.groups[number]);

function show(wanted) {
  for (const group of data.groups) group.tick.checked = group.shown = wanted(group);
  draw();
  cards.forEach(({ figure, group }) => (figure.hidden = !group.shown));
}

// --- samples -------------------------------------------------------------------------------------------------------------

let cards = [], moments = [];

function samples() {
  const { runs, real } = read("pictures");
  for (const [name, source] of real) {
    const image = el("img", { src: source, alt: `real images, ${name}`, decoding: "async" });
    $("grids").append(el("figure", {}, image, el("figcaption", {}, `real images`, el("small", {}, name))));
  }
  data.runs.forEach((run, i) => {
    if (!runs[i].length) return;
    const group = data.groups[run.group];
    const image = el("img", { alt: `samples of ${group.label}, seed ${run.seed}`, decoding: "async" });
    const blank = el("div", { class: "blank" }, "none yet");
    const moment = el("small");
    const figure = el("figure", {}, image, blank, el("figcaption", {}, group.label, moment));
    paint(figure, group);
    cards.push({ figure, group, run, image, blank, moment, pictures: runs[i] });
    $("grids").append(figure);
  });
  moments = [...new Set(cards.flatMap((card) => card.pictures.map(([step]) => step)))].sort((a, b) => a - b);
  $("time").max = moments.length;
  $("time").value = moments.length; // one past the last: the newest of each run
  $("time").disabled = moments.length < 2;
  $("time").addEventListener("input", pose);
  $("left-out").textContent = data.left_out || (cards.length ? "" : "No run has pictures.");
  pose();
}

/** Every run as it was at the slider's time. */
function pose() {
  const now = Number($("time").value), end = now >= moments.length, step = end ? Infinity : moments[now];
  const text = end ? "newest of each" : `step ${whole(step)}`;
  $("moment").textContent = text;
  $("time").setAttribute("aria-valuetext", text);
  for (const { run, image, blank, moment, pictures } of cards) {
    const found = pictures.findLast(([drawn]) => drawn <= step);
    image.hidden = !found;
    blank.hidden = Boolean(found);
    if (found && image.getAttribute("src") !== found[1]) image.src = found[1];
    const after = found ? ` step ${whole(found[0])}` : "";
    moment.textContent = `seed ${run.seed},${after}${run.status === "completed" ? "" : ` (${run.status})`}`;
  }
}

// --- configuration and protocols --------------------------------------------------------------------------------------------

function settings() {
  const keys = Object.keys(data.config);
  const shared = keys.filter((key) => data.config[key].every((value, i) => value !== null || !data.groups[i].runs.some((run) => run.of)));
  const rest = keys.filter((key) => !shared.includes(key));
  if (!keys.length) $("settings").append(el("p", { class: "note" }, "The configurations are equal but for the seed."));
  if (shared.length) $("settings").append(matrix(shared));
  if (rest.length) {
    const more = el("details", {}, el("summary", {}, `${rest.length} key${rest.length === 1 ? "" : "s"} that only some groups have`));
    more.addEventListener("toggle", () => more.children.length > 1 || more.append(matrix(rest)));
    $("settings").append(more);
  }
}

function matrix(keys) {
  const heads = data.groups.map((group) => el("th", { scope: "col" }, swatch(group), group.label));
  const rows = keys.map((key) => el("tr", {}, el("th", { scope: "row" }, key), ...data.config[key].map((value) => el("td", {}, value ?? "–"))));
  const head = el("thead", {}, el("tr", {}, el("td"), ...heads));
  return el("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": "Configuration keys that differ" }, el("table", {}, head, el("tbody", {}, ...rows)));
}

function protocols() {
  for (const table of data.tables.filter((table) => Object.keys(table.protocol).length)) {
    const rows = Object.entries(table.protocol).map(([key, value]) => el("tr", {}, el("th", { scope: "row" }, key), el("td", {}, value)));
    $("how").append(el("details", {}, el("summary", {}, `${table.score}: ${table.about}`), el("div", { class: "scroll" }, el("table", {}, el("tbody", {}, ...rows)))));
  }
  if (!$("how").children.length) $("how").append(el("p", { class: "note" }, "No run has come to an end with a score."));
}

/** Half a second of a browser's time: when all else is on the screen. */
function plotly() {
  const script = el("script");
  script.nonce = document.querySelector("script[nonce]").nonce;
  script.textContent = $("plotly").textContent;
  document.head.append(script);
}

header();
scores();
curves();
settings();
protocols();
document.addEventListener("DOMContentLoaded", () => { // pictures and plotly, most of the page, are behind this script
  samples();
  requestAnimationFrame(() => setTimeout(() => {
    plotly();
    draw();
    document.documentElement.dataset.ready = Math.round(performance.now());
  }));
});
