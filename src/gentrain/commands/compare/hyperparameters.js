// --- hyperparameters -------------------------------------------------------------------------------------------------------

const AXES = 10; // of parallel coordinates, the score aside: more would be too close to read

function hyperparameters() {
  const keys = Object.keys(data.hyperparameters);
  const scores = [...new Set(data.groups.flatMap((group) => Object.keys(group.final)))];
  const problem = !scores.length ? "No run has a score yet." : !keys.length ? "No hyperparameter differs between the groups." : data.install;
  $("no-hyperparameters").textContent = problem;
  $("no-hyperparameters").hidden = !problem;
  $("studies").hidden = Boolean(problem);
  for (const score of scores) $("score").append(el("option", { value: score }, score));
  for (const key of keys) $("key").append(el("option", { value: key }, key));
  if (scores.includes(data.first)) $("score").value = data.first;
  for (const id of ["score", "which", "key", "log-key"]) $(id).addEventListener("change", study);
}

/** The groups that are shown and have the chosen score: [group, its number, mean, standard deviation or null]. */
function studied() {
  const found = data.groups.map((group, i) => [group, i, ...(group[$("which").value][$("score").value] ?? [])]);
  return found.filter(([group, , mean]) => group.shown && !missing(mean));
}

const isNumber = (text) => text !== null && text.trim() !== "" && Number.isFinite(Number(text));
const short = (text) => (text.length > 24 ? `${text.slice(0, 23)}…` : text);
/** The end of a key, which says most. */
const ending = (key) => (key.length > 22 ? `…${key.split(/(?=[./])/).slice(-2).join("").slice(-21).replace(/^[./]/, "")}` : key);

function study() {
  if (!window.Plotly || $("studies").hidden) return;
  scatter(studied());
  parallel(studied());
}

function scatter(groups) {
  const key = $("key").value, score = $("score").value, values = data.hyperparameters[key];
  const numbers = groups.filter(([, i]) => values[i] !== null).every(([, i]) => isNumber(values[i]));
  const points = groups.filter(([, i]) => !numbers || values[i] !== null).map(([group, i, mean, sd]) => ({
    type: "scatter", mode: "markers", x: [numbers ? Number(values[i]) : plainly(values[i] ?? "–")], y: [mean], name: plainly(group.label),
    error_y: { type: "data", array: [sd ?? 0], color: group.color, thickness: 1.2 },
    marker: { color: group.color, size: 10, symbol: ["circle", "square", "diamond"][group.stroke] },
    hovertemplate: `%{y:.4g} at %{x}<extra>${plainly(group.label)}</extra>`,
  }));
  const { axis, layout, config } = look(), logs = numbers && $("log-key").checked;
  $("scatter").setAttribute("aria-label", `${score} against ${key}, ${points.length} groups`);
  Plotly.react($("scatter"), points, {
    ...layout, uirevision: `${key} ${score}`,
    xaxis: { ...axis, title: title(key), type: numbers ? (logs ? "log" : "linear") : "category", exponentformat: "power" },
    yaxis: { ...axis, title: title(`${score}, ${$("which").value}`) },
  }, config);
}

/** A line a group over the keys that differ, and the score. plotly's own needs WebGL, which not every machine has, and code from strings. */
function parallel(groups) {
  const score = $("score").value, greater = data.greater.includes(score);
  const axes = Object.entries(data.hyperparameters).slice(0, AXES).map(([key, values]) => dimension(key, groups.map(([, i]) => values[i])));
  const means = groups.map(([, , mean]) => mean);
  const last = dimension(score, means.map(String), !greater);
  const best = greater ? Math.max(...means) : Math.min(...means);
  const every = [...axes, last];
  const made = groups.map(([group, , mean], n) => ({
    type: "scatter", mode: "lines+markers", x: every.map((_, d) => d), y: every.map((one) => one.heights[n]), name: plainly(group.label),
    line: { color: group.color, width: mean === best ? 4 : 1.6, dash: DASHES[group.stroke] }, marker: { color: group.color, size: 6 },
    text: every.map((one) => plainly(`${one.key}: ${one.texts[n]}`)), hovertemplate: `%{text}<extra>${plainly(group.label)}</extra>`,
  }));
  const { axis, layout, config } = look();
  const ticks = every.flatMap((one, d) => one.ticks.map(([height, text]) => ({
    x: d, y: height, text: plainly(short(text)), showarrow: false, xanchor: d === every.length - 1 ? "right" : "left", xshift: d === every.length - 1 ? -6 : 6,
    font: { size: 11 }, bgcolor: getComputedStyle(document.documentElement).getPropertyValue("--paper").trim() + "cc",
  })));
  $("parallel").setAttribute("aria-label", `${axes.length} hyperparameters and ${score} of ${made.length} groups`);
  Plotly.react($("parallel"), made, {
    ...layout, annotations: ticks, uirevision: score, margin: { ...layout.margin, r: 84 },
    xaxis: { ...axis, tickvals: every.map((_, d) => d), ticktext: every.map((one) => plainly(ending(one.key))), range: [-0.1, every.length - 0.9], gridwidth: 2, ticklabeloverflow: "allow" },
    yaxis: { ...axis, visible: false, range: [-0.06, 1.06], fixedrange: true },
  }, config);
}

/** An axis of parallel coordinates: heights in 0 ... 1 of each group's value, and some labelled heights. Numbers of many magnitudes are in log scale. */
function dimension(key, values, down = false) {
  const texts = values.map((value) => value ?? "–");
  if (values.length && values.every(isNumber)) {
    const numbers = values.map(Number), least = Math.min(...numbers), most = Math.max(...numbers);
    const logs = least > 0 && most / least >= 50, scaled = (value) => (logs ? Math.log(value) : value);
    const height = (value) => (most === least ? 0.5 : (scaled(value) - scaled(least)) / (scaled(most) - scaled(least)));
    const up = (value) => (down ? 1 - height(value) : height(value));
    const distinct = [...new Set(numbers)], shown = distinct.length <= 6 ? distinct : [least, most];
    return { key, texts, heights: numbers.map(up), ticks: shown.map((value) => [up(value), digits(value)]) };
  }
  const kinds = [...new Set(texts)], height = (text) => (kinds.length < 2 ? 0.5 : kinds.indexOf(text) / (kinds.length - 1));
  return { key, texts, heights: texts.map(height), ticks: kinds.slice(0, 12).map((text) => [height(text), text]) };
}
