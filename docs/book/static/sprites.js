// The swap lab's pictures without a kernel: sliders choose tiles of a sheet. Without this script the sheet is shown whole.
"use strict";

for (const box of document.querySelectorAll(".sprite")) {
  const { side, columns, wide, panels, sliders, frames } = JSON.parse(box.dataset.sprite);
  const still = box.querySelector(".sprite-still"), sheet = still.querySelector("img");
  const make = (name, parent, set = {}) => parent.appendChild(Object.assign(document.createElement(name), set));
  const live = document.createElement("div");
  const inputs = sliders.map(([name, steps]) => {
    const label = make("label", live);
    make("span", label, { textContent: name });
    const input = make("input", label, { type: "range", min: 0, max: steps.length - 1 });
    input.value = Math.floor((steps.length - 1) / 2);
    input.addEventListener("input", draw);
    return input;
  });
  const view = make("div", live, { className: "sprite-view" });
  view.style.setProperty("--wide", wide);
  const canvases = panels.map((name) => {
    const panel = make("div", view);
    if (name === null) return null;
    const canvas = make("canvas", panel, { width: side, height: side, role: "img", ariaLabel: name });
    make("span", panel, { textContent: name, ariaHidden: "true" });
    return canvas;
  });
  const said = make("p", live);
  said.setAttribute("aria-live", "polite");

  function draw() {
    const frame = frames[inputs.reduce((place, input, i) => place * sliders[i][1].length + Number(input.value), 0)];
    inputs.forEach((input, i) => input.setAttribute("aria-valuetext", sliders[i][1][input.value]));
    canvases.forEach((canvas, i) => {
      const tile = frame.tiles[i], from = [(tile % columns) * side, Math.floor(tile / columns) * side];
      canvas?.getContext("2d").drawImage(sheet, ...from, side, side, 0, 0, side, side);
    });
    said.textContent = frame.text;
  }

  sheet.decode().then(() => {
    draw();
    still.replaceWith(live);
    live.className = "sprite-live";
  }).catch(() => {}); // no sheet: its words stay
}
