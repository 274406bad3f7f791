// The swap lab's page: people to choose, the walk, six targets. Its parts are in the other scripts of this folder.
"use strict";

{
  const element = (id) => document.getElementById(id);
  const percent = (ratio) => `${Math.round(100 * ratio)} %`;
  const state = { a: 0, b: 1, ratio: 0, sources: [], targets: [], cells: [], times: [] };
  const engine = { runtime: null, generator: null, embedder: null };
  const MOST_OFF = 0.02; // of a value in [-1, 1], between two engines: two gray levels and a half
  let latest = 0; // number of the newest request: older ones stop

  SwapLab.say = (text) => { element("lab-status").textContent = text; };

  function check() {
    if (typeof WebAssembly !== "object") throw new Error("this browser has no WebAssembly");
    if (typeof DecompressionStream !== "function") throw new Error("this browser is too old for it");
  }

  async function start() {
    check();
    const runtime = SwapLab.openRuntime("wasm"), network = SwapLab.bytes("generator");
    Promise.all([runtime, network]).catch(() => {}); // awaited below
    SwapLab.facts = JSON.parse(new TextDecoder().decode(await SwapLab.bytes("faces")));
    people(await SwapLab.tiles());
    element("swap-lab-still").hidden = true;
    element("swap-lab").hidden = false;
    engine.runtime = await runtime;
    engine.generator = await engine.runtime.open(await network);
    await draw();
    engine.embedder = await engine.runtime.open(await SwapLab.bytes("embedder"));
    SwapLab.own(ownPicture);
    await SwapLab.quiz(pair);
    offerGpu();
    SwapLab.say("The lab is ready. It runs in this page.");
    element("swap-lab").dataset.state = "ready";
  }

  // Tiles -> sources, targets, what is known of their pairs; and the page's elements for them.
  function people(tiles) {
    const { sources, targets, vectors, error } = SwapLab.facts, from = sources + targets;
    state.sources = vectors.map((vector, s) => ({
      name: `person ${s + 1}`, image: tiles[s], vector: Float32Array.from(vector),
      truth: (t) => ({ true: tiles[from + s * targets + t], bucket: tiles[from + (sources + s) * targets + t] }),
    }));
    state.targets = Array.from({ length: targets }, (_, t) => ({ image: tiles[sources + t], place: t }));
    state.rendered = [...state.targets];
    for (const side of ["a", "b"]) state.sources.forEach((source, s) => radio(side, source, s));
    state.cells = state.targets.map(card);
    element("lab-ratio").addEventListener("input", () => { state.ratio = element("lab-ratio").value / 100; draw(); });
    element("lab-error").textContent = `Mean squared error to the true swap over the page's ${sources * targets} pairs, which
      were drawn and not chosen: 1 is the target handed back, the swap has ${error.swap.toFixed(2)}, the paint bucket
      ${error["paint bucket"].toFixed(2)}.`;
  }

  function radio(side, source, s) {
    const label = document.createElement("label"), input = document.createElement("input");
    const canvas = SwapLab.canvas(source.name);
    SwapLab.paint(canvas, source.image);
    Object.assign(input, { type: "radio", name: `lab-source-${side}`, value: s, checked: state[side] === s });
    input.addEventListener("change", () => { state[side] = s; draw(); });
    label.append(input, canvas);
    element(`lab-${side}`).append(label);
    return { label, input, canvas };
  }

  // A target with its swap, the true swap and the paint bucket below it.
  function card(target, t) {
    const group = document.createElement("div"), cells = {};
    group.setAttribute("role", "group");
    group.setAttribute("aria-label", `Target ${t + 1}`);
    for (const [kind, name] of [["target", "target"], ["swap", "swap"], ["true", "true swap"], ["bucket", "paint bucket"]]) {
      const figure = document.createElement("figure"), caption = document.createElement("figcaption");
      cells[kind] = SwapLab.canvas(name);
      cells[kind].dataset.kind = kind;
      caption.textContent = name;
      figure.append(cells[kind], caption);
      group.append(figure);
    }
    element("lab-pairs").append(group);
    return cells;
  }

  // What is known of the swap that the sliders ask for: the truth is rendered for people, not for points between.
  function known(t) {
    const end = state.ratio === 0 ? state.a : state.ratio === 1 || state.a === state.b ? state.b : null;
    const source = end === null ? null : state.sources[end], place = state.targets[t].place;
    return source?.truth && place !== undefined ? source.truth(place) : null;
  }

  // Six swaps of the point that the sliders ask for.
  async function draw() {
    const mine = ++latest, a = state.sources[state.a], b = state.sources[state.b];
    const vector = SwapLab.slerp(a.vector, b.vector, state.ratio);
    element("lab-percent").textContent = percent(state.ratio);
    element("lab-ratio").setAttribute("aria-valuetext", `${percent(state.ratio)} from ${a.name} to ${b.name}`);
    for (const [t, cells] of state.cells.entries()) {
      const target = state.targets[t], truth = known(t), own = target.own || (a.own && state.ratio < 1) || (b.own && state.ratio > 0);
      const { image, milliseconds } = await SwapLab.swap(engine, target.image, vector);
      if (mine !== latest) return;
      SwapLab.paint(cells.target, target.image);
      if (own) SwapLab.mark(cells.swap, image);
      else SwapLab.paint(cells.swap, image);
      cells.swap.setAttribute("aria-label", own ? "swap, marked as synthetic" : "swap");
      for (const kind of ["true", "bucket"]) fill(cells[kind], truth?.[kind]);
      time(milliseconds);
      await new Promise((resolve) => setTimeout(resolve)); // the page answers between two swaps
    }
    element("swap-lab").dataset.drawn = mine;
  }

  function fill(canvas, image) {
    if (image) SwapLab.paint(canvas, image);
    else canvas.width = canvas.height = SwapLab.facts.size; // an empty place
    const name = canvas.dataset.kind === "true" ? "true swap" : "paint bucket";
    canvas.setAttribute("aria-label", image ? name : `${name}: none`);
    canvas.nextSibling.textContent = image ? name : `${name}: none`;
  }

  function time(milliseconds) {
    if (!performance.getEntriesByName("swap-lab-first").length) performance.mark("swap-lab-first");
    state.times = [...state.times.slice(-11), milliseconds];
    const where = engine.runtime.build === "wasm" ? "the processor" : "the graphics processor";
    element("lab-speed").textContent = `One swap takes ${median(state.times).toFixed(0)} ms on ${where}.`;
  }

  function median(values) {
    return [...values].sort((x, y) => x - y)[Math.floor(values.length / 2)];
  }

  // A reader's crop becomes source A or the last target; null takes it away again.
  async function ownPicture(image, use) {
    if (use === "target") {
      const last = state.targets.length - 1;
      state.targets[last] = image ? { image, own: true } : state.rendered[last];
    } else {
      await ownSource(image);
    }
    await draw();
  }

  async function ownSource(image) {
    const place = SwapLab.facts.sources;
    if (!image) {
      state.radios.forEach(({ label }) => label.remove());
      state.radios = null;
      for (const side of ["a", "b"]) {
        if (state[side] !== place) continue;
        state[side] = 0;
        element(`lab-${side}`).querySelector("input").checked = true;
      }
      state.sources.length = place;
      return;
    }
    const source = { name: "your picture", image, vector: await SwapLab.embed(engine, image), own: true };
    const first = !state.radios;
    state.sources[place] = source;
    if (first) {
      state.a = place;
      state.radios = ["a", "b"].map((side) => radio(side, source, place));
    } else state.radios.forEach(({ canvas }) => SwapLab.paint(canvas, image));
  }

  // The images of a rendered pair, for the quiz.
  async function pair(s, t) {
    const source = state.sources[s], target = state.rendered[t];
    const { image } = await SwapLab.swap(engine, target.image, source.vector);
    return { x_source: source.image, x_target: target.image, swap: image, ...source.truth(t) };
  }

  // The graphics processor, where there is one: another build of the runtime, loaded only when it is asked for.
  async function offerGpu() {
    const button = element("lab-gpu");
    if (!await navigator.gpu?.requestAdapter().catch(() => null)) return;
    button.hidden = false;
    button.addEventListener("click", async () => {
      element("lab-ratio").focus(); // else the focus is lost with this button
      button.hidden = true;
      SwapLab.say("Loading what runs on the graphics processor.");
      try {
        const runtime = await SwapLab.openRuntime("webgpu");
        const generator = await runtime.open(await SwapLab.bytes("generator"));
        const embedder = await runtime.open(await SwapLab.bytes("embedder"));
        await compare({ runtime, generator });
        Object.assign(engine, { runtime, generator, embedder });
        state.times = [];
        await draw();
        SwapLab.say("The lab now runs on the graphics processor.");
      } catch (error) {
        SwapLab.say(`The graphics processor cannot be used (${error.message}); the lab goes on without it.`);
      }
    });
  }

  // An error where another engine computes other swaps than the present one, or is no faster.
  async function compare(other) {
    const [target, vector, times] = [state.rendered[0].image, state.sources[0].vector, []];
    const { image: wanted } = await SwapLab.swap(engine, target, vector);
    for (let i = 0; i < 4; i++) { // it compiles at its first
      const { image, milliseconds } = await SwapLab.swap(other, target, vector);
      if (image.some((value, place) => !(Math.abs(value - wanted[place]) < MOST_OFF))) throw new Error("it computes other swaps");
      times.push(milliseconds);
    }
    const fastest = Math.min(...times);
    if (fastest > median(state.times)) throw new Error(`it takes ${fastest.toFixed(0)} ms for a swap`);
  }

  start().catch((error) => {
    element("swap-lab-still").hidden = false;
    element("swap-lab").hidden = false;
    element("swap-lab").dataset.state = "failed";
    for (const part of element("swap-lab").querySelectorAll("section")) part.hidden = true;
    SwapLab.say(`The lab cannot run here: ${error.message}. The picture below shows what it would do.`);
  });
}
