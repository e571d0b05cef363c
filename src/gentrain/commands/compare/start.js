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
hyperparameters();
places();
settings();
protocols();
document.addEventListener("DOMContentLoaded", () => { // pictures and plotly, most of the page, are behind this script
  samples();
  requestAnimationFrame(() => setTimeout(() => {
    plotly();
    draw();
    study();
    document.documentElement.dataset.ready = Math.round(performance.now());
  }));
});
