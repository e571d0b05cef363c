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
  return found ? { steps: run.curves.axes[found[0]], values: smoothed(found[1], Number($("smoothing").value)) } : null;
}

/** An exponential moving average, without the bias of its start: as TensorBoard's. */
function smoothed(values, weight) {
  let sum = 0, share = 0;
  return weight === 0 ? values : values.map((value) => {
    sum = weight * sum + (1 - weight) * value;
    share = weight * share + (1 - weight);
    return sum / share;
  });
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

function traces(value, axis, each, yaxis) {
  const made = [];
  for (const group of data.groups.filter((group) => group.shown)) {
    const runs = group.runs.filter((run) => run.curves.of[value]);
    const line = { color: group.color, width: 1.8, dash: DASHES[group.stroke] };
    const hover = (name) => `%{y:.4g} at %{x:.4g}<extra>${plainly(name)}</extra>`;
    const drawn = (x, y, name) => made.push({
      type: "scatter", x, y, yaxis, line, name: plainly(name), hovertemplate: hover(name), mode: y.length === 1 ? "markers" : "lines", marker: { color: group.color },
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
    const edge = { type: "scatter", x, yaxis, mode: "lines", line: { width: 0 }, hoverinfo: "skip" };
    made.push({ ...edge, y: least }, { ...edge, y: greatest, fill: "tonexty", fillcolor: group.color + "2e" });
    drawn(x, mean, `${group.label}, mean of ${runs.length} seeds`);
  }
  return made;
}

/** Plotly reads a few HTML tags in names: shown as they are typed. */
const plainly = (text) => text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;").replaceAll("%{", "%\u200b{");

/** What both kinds of charts share. */
function look() {
  const style = getComputedStyle(document.documentElement), color = (name) => style.getPropertyValue(name).trim();
  return {
    axis: { gridcolor: color("--line"), linecolor: color("--line"), zeroline: false, automargin: true },
    layout: {
      autosize: true, margin: { l: 60, r: 12, t: 30, b: 48 }, showlegend: false, hovermode: "closest", hoverlabel: { namelength: -1, align: "left" },
      paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", font: { color: color("--ink"), family: "inherit", size: 13 },
      modebar: { bgcolor: "rgba(0,0,0,0)", color: color("--faint"), activecolor: color("--accent") },
    },
    config: { responsive: true, displaylogo: false, displayModeBar: true, modeBarButtons: [["zoom2d", "pan2d", "resetScale2d", "toImage"]] },
  };
}

const title = (text) => ({ text: plainly(text), standoff: 8 });

function draw() {
  const names = [...new Set([$("value").value, $("second").value])].filter(Boolean), axis = $("axis").value;
  const made = names.flatMap((name, i) => traces(name, axis, $("seeds").value === "each", i ? "y2" : "y"));
  $("how-many").textContent = `${data.groups.filter((group) => group.shown).length} of ${data.groups.length} groups`;
  $("nothing").hidden = made.length > 0;
  $("weight").textContent = $("smoothing").value === "0" ? "none" : $("smoothing").value;
  for (const group of data.groups) group.entry.classList.toggle("absent", !group.runs.some((run) => names.some((name) => run.curves.of[name])));
  if (!window.Plotly) return;
  const { axis: lines, layout, config } = look(), two = names.length > 1;
  const vertical = { ...lines, type: $("log").checked ? "log" : "linear", exponentformat: "power" };
  $("chart").classList.toggle("two", two);
  $("chart").setAttribute("aria-label", `${names.join(" and ")} against ${axis}, ${made.length} lines`);
  Plotly.react($("chart"), made, {
    ...layout, uirevision: `${names} ${axis}`,
    xaxis: { ...lines, title: title(axis), anchor: two ? "y2" : "y" },
    yaxis: { ...vertical, title: title(names[0] ?? ""), domain: two ? [0.53, 1] : [0, 1] },
    ...(two ? { yaxis2: { ...vertical, title: title(names[1]), domain: [0, 0.47] } } : {}),
  }, config);
}

function curves() {
  for (const value of data.values) for (const id of ["value", "second"]) $(id).append(el("option", { value }, value));
  if (data.first) $("value").value = data.first;
  for (const group of data.groups) {
    group.tick = el("input", { type: "checkbox", checked: group.shown });
    group.tick.addEventListener("change", () => show((one) => one.tick.checked));
    group.entry = el("label", {}, group.tick, swatch(group), group.label);
    $("groups").append(group.entry);
  }
  for (const id of ["value", "second", "axis", "seeds", "log"]) $(id).addEventListener("change", draw);
  $("smoothing").addEventListener("input", draw);
  $("all").addEventListener("click", () => show(() => true));
  $("none").addEventListener("click", () => show(() => false));
  $("top").addEventListener("click", () => show((group) => best().includes(group)));
  $("install").textContent = data.install;
  $("install").hidden = !data.install;
  $("chart").hidden = Boolean(data.install);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => { draw(); study(); });
  draw();
}

/** The first five of the first table. */
const best = () => data.tables[0].rows.slice(0, 5).map(([, number]) => data.groups[number]);

function show(wanted) {
  for (const group of data.groups) group.tick.checked = group.shown = wanted(group);
  draw();
  study();
  samplePages?.begin(withPictures().length);
}
