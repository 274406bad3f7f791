// The swap lab's ground: assets beside the page, the networks in onnxruntime-web, Slerp, tiles.
// Images are Float32Array of 3 * size * size values in [-1, 1], channel by channel, as PyTorch has them.
"use strict";

window.SwapLab = { texts: {}, folder: new URL(".", document.currentScript.src).href };
window.swapLabAsset = (name, text) => { SwapLab.texts[name] = text; };

// Load a script of the lab's folder.
SwapLab.script = (name) => new Promise((done, failed) => {
  const script = document.createElement("script");
  script.src = `${SwapLab.folder}${name}.js`;
  script.onload = () => { script.remove(); done(); };
  script.onerror = () => failed(new Error(`${name}.js could not be loaded`));
  document.head.append(script);
});

// The bytes of an asset: base64 of gzip in a script, which a page opened from a disk may load, too.
SwapLab.bytes = async (name) => {
  await SwapLab.script(name);
  const text = SwapLab.texts[name];
  delete SwapLab.texts[name];
  const packed = Uint8Array.fromBase64?.(text) ?? Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
};

// A build of the runtime, "wasm" or "webgpu", ready to open networks; each is a program of its own.
SwapLab.openRuntime = async (build) => {
  const parts = [SwapLab.script(`ort-${build}`), SwapLab.bytes(`start-${build}`), SwapLab.bytes(`binary-${build}`)];
  const [, start, binary] = await Promise.all(parts);
  const ort = window.ort;
  ort.env.wasm.numThreads = 1; // more need headers that a plain file server does not send
  ort.env.wasm.wasmBinary = binary.buffer;
  ort.env.wasm.wasmPaths = { mjs: URL.createObjectURL(new Blob([start], { type: "text/javascript" })) };
  return {
    build,
    open: (content) => ort.InferenceSession.create(content, {
      executionProviders: [build],
      // On the processor its optimizer takes half a second of the start, and a swap is as fast without it.
      graphOptimizationLevel: build === "wasm" ? "disabled" : "all",
    }),
    tensor: (values, ...shape) => new ort.Tensor("float32", values, shape),
  };
};

// One run at a time: a session must not be entered twice.
SwapLab.queue = Promise.resolve();
SwapLab.inTurn = (work) => {
  const result = SwapLab.queue.then(work);
  SwapLab.queue = result.catch(() => {});
  return result;
};

// (3, size, size) and a unit vector -> the swap, and the milliseconds it took.
SwapLab.swap = (engine, target, vector) => SwapLab.inTurn(async () => {
  const { runtime, generator } = engine, size = SwapLab.facts.size, begin = performance.now();
  const feeds = { target: runtime.tensor(target, 1, 3, size, size), vector: runtime.tensor(vector, 1, vector.length) };
  const { swap } = await generator.run(feeds);
  return { image: Float32Array.from(swap.data), milliseconds: performance.now() - begin };
});

// (3, size, size) -> a unit vector.
SwapLab.embed = (engine, image) => SwapLab.inTurn(async () => {
  const size = SwapLab.facts.size;
  const { vector } = await engine.embedder.run({ image: engine.runtime.tensor(image, 1, 3, size, size) });
  return Float32Array.from(vector.data);
});

// Slerp from a to b, two unit vectors; nearly parallel ones are averaged in a straight line.
SwapLab.slerp = (a, b, ratio) => {
  const norm = (v) => Math.hypot(...v);
  const omega = 2 * Math.atan2(norm(a.map((x, i) => x - b[i])), norm(a.map((x, i) => x + b[i])));
  const straight = Math.sin(omega) < 1e-4;
  const weights = straight ? [1 - ratio, ratio] : [Math.sin((1 - ratio) * omega), Math.sin(ratio * omega)];
  const point = a.map((x, i) => weights[0] * x + weights[1] * b[i]);
  const length = norm(point) || 1;
  return point.map((x) => x / length);
};

// A drawing area's image; `smooth` pictures are shrunk by the browser.
SwapLab.imageOf = (context, size) => {
  const pixels = context.getImageData(0, 0, size, size).data, area = size * size;
  const image = new Float32Array(3 * area);
  for (let i = 0; i < area; i++) for (let c = 0; c < 3; c++) image[c * area + i] = pixels[4 * i + c] / 127.5 - 1;
  return image;
};

// Put an image onto a canvas, which takes its size.
SwapLab.paint = (canvas, image) => {
  const size = SwapLab.facts.size, area = size * size;
  if (canvas.width !== size) canvas.width = canvas.height = size;
  const context = canvas.getContext("2d"), shown = context.createImageData(size, size);
  for (let i = 0; i < area; i++) {
    for (let c = 0; c < 3; c++) shown.data[4 * i + c] = Math.round((image[c * area + i] + 1) * 127.5); // it clips
    shown.data[4 * i + 3] = 255;
  }
  context.putImageData(shown, 0, 0);
};

// The sprite sheet's tiles, in its order: sources, targets, true swaps, paint buckets.
SwapLab.tiles = async () => {
  const { size, sources, targets } = SwapLab.facts;
  const blob = new Blob([await SwapLab.bytes("sprite")], { type: "image/webp" });
  const sheet = await createImageBitmap(blob, { colorSpaceConversion: "none", premultiplyAlpha: "none" });
  const canvas = new OffscreenCanvas(size, size), context = canvas.getContext("2d", { willReadFrequently: true });
  return Array.from({ length: sources + targets + 2 * sources * targets }, (_, i) => {
    context.drawImage(sheet, -size * (i % sources), -size * Math.floor(i / sources));
    return SwapLab.imageOf(context, size);
  });
};

SwapLab.canvas = (name) => {
  const canvas = document.createElement("canvas");
  canvas.setAttribute("role", "img");
  canvas.setAttribute("aria-label", name);
  return canvas;
};
