// Draws the figures one after the other, in the page's colours, so that the page can be read and scrolled meanwhile.
(function () {
  "use strict";
  const root = document.documentElement;
  const figures = Array.from(document.querySelectorAll(".figure"));
  const coarse = window.matchMedia("(pointer: coarse)").matches;
  const dark = window.matchMedia("(prefers-color-scheme: dark)");
  const config = { displayModeBar: false, scrollZoom: false, doubleClick: "reset" };

  function colours() {
    const style = getComputedStyle(root);
    const colour = (name) => style.getPropertyValue(name).trim();
    return { ink: colour("--ink"), soft: colour("--soft"), line: colour("--line"), card: colour("--card") };
  }

  // what plotly is to know of the page: changes to a layout
  function themed(layout) {
    const c = colours();
    const result = {
      paper_bgcolor: "rgba(0,0,0,0)",
      plot_bgcolor: "rgba(0,0,0,0)",
      "font.color": c.ink,
      "font.family": "system-ui, sans-serif",
      "font.size": 12,
      "hoverlabel.bgcolor": c.card,
      "hoverlabel.bordercolor": c.line,
      "hoverlabel.font.color": c.ink,
    };
    for (const key of Object.keys(layout)) {
      if (/^[xy]axis\d*$/.test(key)) {
        result[key + ".gridcolor"] = c.line;
        result[key + ".linecolor"] = c.line;
        result[key + ".zerolinecolor"] = c.line;
        result[key + ".tickfont.color"] = c.soft;
        result[key + ".title.font.color"] = c.soft;
      }
    }
    return result;
  }

  function put(layout, changes) {
    for (const [path, value] of Object.entries(changes)) {
      const names = path.split(".");
      let at = layout;
      for (const name of names.slice(0, -1)) at = at[name] = at[name] || {};
      at[names[names.length - 1]] = value;
    }
    return layout;
  }

  async function draw(place) {
    const figure = JSON.parse(document.getElementById(place.id + "-data").textContent);
    const layout = put(figure.layout, themed(figure.layout));
    // a finger that scrolls the page must not zoom
    layout.dragmode = coarse ? false : "zoom";
    await Plotly.newPlot(place, figure.data, layout, config);
  }

  // the window may change its width, and what is inside a closed fold has none until that opens
  const resized = new ResizeObserver((entries) => {
    for (const { target } of entries) {
      const width = target.clientWidth;
      if (target._fullLayout && width && width !== target._fullLayout.width) Plotly.relayout(target, { width: width });
    }
  });

  async function drawAll() {
    for (const [number, place] of figures.entries()) {
      await draw(place);
      resized.observe(place);
      root.dataset.drawn = String(number + 1);
      await new Promise((next) => setTimeout(next, 0));
    }
    root.dataset.ready = "yes";
  }

  dark.addEventListener("change", () => {
    for (const place of figures) if (place.layout) Plotly.relayout(place, themed(place.layout));
  });
  drawAll();
})();
