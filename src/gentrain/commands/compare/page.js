"use strict";
// The page of `gentrain compare`. Everything that comes from runs is set as text; nothing here builds HTML out of strings.

const $ = (id) => document.getElementById(id);
const read = (id) => JSON.parse($(id).textContent);
const data = read("data");

// eight colours that the colour-blind tell apart, in the light and in the dark; then the same with other strokes
const COLORS = ["#2f7ed8", "#e07b00", "#2a9d63", "#cc4b9b", "#c0392b", "#8a6fd1", "#8c7a2b", "#2aa7b8"];
const DASHES = ["solid", "dash", "dot"], BORDERS = ["solid", "dashed", "dotted"];
const PAGE = 20; // rows, columns or groups of pictures at a time; lines in the charts at first
data.groups.forEach((group, i) => {
  group.color = COLORS[i % COLORS.length];
  group.stroke = Math.floor(i / COLORS.length) % DASHES.length;
  group.shown = i < PAGE;
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

/** Buttons that turn pages of PAGE things; `draw(first, end)` shows those of a page. Not shown where one page is enough. */
function pager(name, draw) {
  let first = 0, total = 0;
  const where = el("output");
  const back = el("button", { type: "button", "aria-label": `previous ${name}` }, "Previous");
  const on = el("button", { type: "button", "aria-label": `next ${name}` }, "Next");
  const turn = (to) => {
    first = Math.max(0, Math.min(to, PAGE * Math.floor((total - 1) / PAGE)));
    const end = Math.min(total, first + PAGE);
    where.textContent = `${first + 1}–${end} of ${total}`;
    back.disabled = first === 0;
    on.disabled = end === total;
    element.hidden = total <= PAGE;
    draw(first, end);
  };
  const element = el("div", { class: "pager", role: "group", "aria-label": `pages of ${name}` }, back, where, on);
  back.addEventListener("click", () => turn(first - PAGE));
  on.addEventListener("click", () => turn(first + PAGE));
  return { element, begin: (count) => { total = count; turn(0); } };
}

/** Copies a text. A page that was opened from a file may be refused the clipboard; then the selection is copied, as by hand. */
async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    const area = el("textarea", { "aria-hidden": true });
    area.value = text;
    document.body.append(area);
    area.select();
    const done = document.execCommand("copy");
    area.remove();
    return done;
  }
}

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
  { head: "final", of: (row) => row.group.final[row.score]?.[0], cell: (row) => spread(row.group.final[row.score]) + (row.group.older[row.score] ?? "") },
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
  let sorted = rows;
  const pages = pager("groups", (first, end) => body.replaceChildren(...sorted.slice(first, end).map(line)));
  const columns = COLUMNS.filter((column) => !column.grave || rows.some((row) => column.of(row)));
  const heads = columns.map((column) => {
    const button = el("button", { type: "button" }, column.head);
    const head = el("th", { scope: "col", class: column.name ? "name" : column.words ? "words" : null }, button);
    button.addEventListener("click", () => {
      const descending = head.getAttribute("aria-sort") === "ascending";
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", descending ? "descending" : "ascending");
      sorted = [...rows].sort((a, b) => order(column.of(a), column.of(b)) * (descending && known(column.of(a), column.of(b)) ? -1 : 1));
      pages.begin(rows.length);
    });
    return head;
  });
  const line = (row) => el("tr", {}, ...columns.map((column) => {
    const value = column.of(row), text = column.cell ? column.cell(row) : column.text ? column.text(value) : value;
    if (column.name) return el("th", { scope: "row", class: "name" }, el("div", {}, swatch(row.group), el("span", {}, text ?? value)));
    return el("td", { class: column.words ? "words" : column.grave && value ? "bad" : null }, String(text));
  }));
  pages.begin(rows.length);
  return el("div", {}, pages.element, el("div", { class: "scroll" }, el("table", {}, el("thead", {}, el("tr", {}, ...heads)), body)));
}

const known = (a, b) => !missing(a) && !missing(b);

/** Numbers by size, words by the alphabet, what is missing last. */
function order(a, b) {
  if (!known(a, b)) return missing(a) - missing(b);
  return typeof a === "number" && typeof b === "number" ? a - b : String(a).localeCompare(String(b), "en", { numeric: true });
}

// --- samples -------------------------------------------------------------------------------------------------------------

let cards = [], moments = [], samplePages = null;

function samples() {
  const { runs, real } = read("pictures");
  for (const [name, source] of real) {
    const image = el("img", { src: source, alt: `real images, ${name}`, decoding: "async" });
    const button = el("button", { type: "button", "aria-label": `enlarge real images, ${name}` }, image);
    button.addEventListener("click", () => enlarge(`real images, ${name}`, [[null, source]], 0));
    $("grids").append(el("figure", {}, button, el("figcaption", {}, `real images`, el("small", {}, name))));
  }
  data.runs.forEach((run, i) => {
    if (!runs[i].length) return;
    const group = data.groups[run.group];
    const image = el("img", { alt: `samples of ${group.label}, seed ${run.seed}`, decoding: "async" });
    const blank = el("div", { class: "blank" }, "none yet");
    const moment = el("small");
    const button = el("button", { type: "button", "aria-label": `enlarge samples of ${group.label}, seed ${run.seed}` }, image);
    const figure = el("figure", {}, button, blank, el("figcaption", {}, group.label, moment));
    paint(figure, group);
    const card = { figure, group, run, image, button, blank, moment, pictures: runs[i], now: null };
    button.addEventListener("click", () => enlarge(`${group.label}, seed ${run.seed}: ${run.name}`, card.pictures, card.pictures.indexOf(card.now)));
    cards.push(card);
    $("grids").append(figure);
  });
  moments = [...new Set(cards.flatMap((card) => card.pictures.map(([step]) => step)))].sort((a, b) => a - b);
  $("time").max = moments.length;
  $("time").value = moments.length; // one past the last: the newest of each run
  $("time").disabled = moments.length < 2;
  $("time").addEventListener("input", pose);
  $("left-out").textContent = data.left_out || (cards.length ? "" : "No run has pictures.");
  samplePages = pager("groups of pictures", (first, end) => {
    const here = new Set(withPictures().slice(first, end));
    cards.forEach(({ figure, group }) => (figure.hidden = !here.has(group)));
    pose();
  });
  $("sample-pages").append(samplePages.element);
  samplePages.begin(withPictures().length);
}

/** The groups that are shown and have pictures. */
const withPictures = () => [...new Set(cards.map(({ group }) => group))].filter((group) => group.shown);

/** Every run as it was at the slider's time. */
function pose() {
  const now = Number($("time").value), end = now >= moments.length, step = end ? Infinity : moments[now];
  const text = end ? "newest of each" : `step ${whole(step)}`;
  $("moment").textContent = text;
  $("time").setAttribute("aria-valuetext", text);
  for (const card of cards.filter(({ figure }) => !figure.hidden)) {
    const { run, image, button, blank, moment, pictures } = card;
    const found = (card.now = pictures.findLast(([drawn]) => drawn <= step));
    button.hidden = image.hidden = !found;
    blank.hidden = Boolean(found);
    if (found && image.getAttribute("src") !== found[1]) image.src = found[1];
    const after = found ? ` step ${whole(found[0])}` : "";
    moment.textContent = `seed ${run.seed},${after}${run.status === "completed" ? "" : ` (${run.status})`}`;
  }
}

/** A picture over the page, as large as it gets; `pictures` are of one run, [step, source] each. */
function enlarge(title, pictures, number) {
  const viewer = $("viewer");
  const show = (to) => {
    number = Math.max(0, Math.min(to, pictures.length - 1));
    const [step, source] = pictures[number];
    $("viewer-title").textContent = step === null ? title : `${title}, step ${whole(step)}`;
    $("enlarged").replaceChildren(el("img", { src: source, alt: $("viewer-title").textContent }));
    $("earlier").disabled = number === 0;
    $("later").disabled = number === pictures.length - 1;
  };
  $("earlier").hidden = $("later").hidden = pictures.length < 2;
  $("earlier").onclick = () => show(number - 1);
  $("later").onclick = () => show(number + 1);
  $("close").onclick = () => viewer.close();
  viewer.onclick = (event) => event.target === viewer && viewer.close(); // beside it
  viewer.onkeydown = (event) => {
    const by = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (by) show(number + by);
  };
  show(number);
  viewer.showModal(); // Escape closes it, and the focus goes back to the picture
  $("close").focus();
}

// --- where the runs are -----------------------------------------------------------------------------------------------------

function places() {
  const runs = data.groups.flatMap((group) => group.runs), body = el("tbody");
  const cell = (text, what, name) => {
    if (!text) return el("td", {}, "–");
    const button = el("button", { type: "button", "aria-label": `copy the ${what} of ${name}` }, "Copy");
    button.addEventListener("click", async () => {
      $("copied").textContent = (await copy(text)) ? `Copied the ${what} of ${name}.` : "This browser lets no page copy: select the text, and copy it.";
    });
    return el("td", { class: "copied" }, el("div", {}, button, el("code", {}, text)));
  };
  const pages = pager("runs", (first, end) => body.replaceChildren(...runs.slice(first, end).map((run) => el("tr", {},
    el("th", { scope: "row", class: "name" }, el("div", {}, swatch(data.groups[run.group]), el("span", {}, run.name))),
    el("td", {}, run.status), cell(run.directory, "directory", run.name), cell(run.command, "command", run.name)))));
  const heads = ["run", "status", "directory", "command"].map((head, i) => el("th", { scope: "col", class: i ? "words" : "name" }, head));
  $("places").append(pages.element, el("div", { class: "scroll" }, el("table", {}, el("thead", {}, el("tr", {}, ...heads)), body)));
  pages.begin(runs.length);
}

// --- configuration and protocols --------------------------------------------------------------------------------------------

function settings() {
  const keys = Object.keys(data.config);
  const shared = keys.filter((key) => data.config[key].every((value, i) => value !== null || !data.groups[i].runs.some((run) => run.of)));
  const rest = keys.filter((key) => !shared.includes(key));
  if (!keys.length) $("settings").append(el("p", { class: "note" }, "The configurations are equal but for the seed."));
  if (shared.length) $("settings").append(...matrix(shared));
  if (rest.length) {
    const more = el("details", {}, el("summary", {}, `${rest.length} key${rest.length === 1 ? "" : "s"} that only some groups have`));
    more.addEventListener("toggle", () => more.children.length > 1 || more.append(...matrix(rest)));
    $("settings").append(more);
  }
}

function matrix(keys) {
  const table = el("table");
  const pages = pager("groups", (first, end) => {
    const heads = data.groups.slice(first, end).map((group) => el("th", { scope: "col" }, swatch(group), group.label));
    const cells = (key) => data.config[key].slice(first, end).map((value) => el("td", {}, value ?? "–"));
    const rows = keys.map((key) => el("tr", {}, el("th", { scope: "row" }, key), ...cells(key)));
    table.replaceChildren(el("thead", {}, el("tr", {}, el("td"), ...heads)), el("tbody", {}, ...rows));
  });
  pages.begin(data.groups.length);
  const region = { class: "scroll", tabindex: 0, role: "region", "aria-label": "Configuration keys that differ" };
  return [pages.element, el("div", region, table)];
}

function protocols() {
  for (const table of data.tables.filter((table) => Object.keys(table.protocol).length)) {
    const rows = Object.entries(table.protocol).map(([key, value]) => el("tr", {}, el("th", { scope: "row" }, key), el("td", {}, value)));
    $("how").append(el("details", {}, el("summary", {}, `${table.score}: ${table.about}`), el("div", { class: "scroll" }, el("table", {}, el("tbody", {}, ...rows)))));
  }
  if (!$("how").children.length) $("how").append(el("p", { class: "note" }, "No run says how its scores were measured."));
}
