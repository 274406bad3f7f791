// Marks on swaps of a reader's picture: a word that is seen, and the library's mark in the pixels.
// The hidden one is smoothswap_lib/lab/watermark.py's, measured on the picture as it is shown, with the word on it.
"use strict";

{
  const SIDE = 256; // pixels: large enough for the word to be read

  // Put a swap with both marks onto a canvas.
  SwapLab.mark = (canvas, image) => {
    const { grid, margin, contrast, rounds, places, weights, bits } = SwapLab.facts.mark;
    const small = document.createElement("canvas"), large = canvas.getContext("2d", { willReadFrequently: true });
    canvas.width = canvas.height = SIDE;
    const exact = image.map((value) => Math.min(Math.max(value, -1), 1));
    const basis = cosines(grid), inverse = transposed(basis, grid);
    let room = null;
    for (let round = 0; round < rounds; round++) {
      SwapLab.paint(small, exact);
      large.imageSmoothingQuality = "high";
      large.drawImage(small, 0, 0, SIDE, SIDE);
      write(large);
      const luma = lumaOf(large, grid), spectrum = transform(luma, basis, grid);
      room ??= contrastOf(luma, grid, contrast);
      const lacking = places.map((at, bit) => {
        const sum = at.reduce((total, place, i) => total + spectrum[place] * weights[bit][i], 0);
        return Math.max(margin - bits[bit] * sum, 0);
      });
      if (Math.max(...lacking) < margin / 50) break;
      const added = new Float64Array(grid * grid);
      places.forEach((at, bit) => at.forEach((place, i) => { added[place] = bits[bit] * lacking[bit] * weights[bit][i]; }));
      add(exact, transform(added, inverse, grid).map((value, place) => value * room[place] / 127.5), grid);
    }
  };

  // Add a plane of the grid to all three channels, in place.
  function add(image, plane, grid) {
    const size = SwapLab.facts.size, area = size * size, at = (i) => Math.floor(i * grid / size);
    for (let i = 0; i < area; i++) {
      const change = plane[at(Math.floor(i / size)) * grid + at(i % size)];
      for (let c = 0; c < 3; c++) image[c * area + i] = Math.min(Math.max(image[c * area + i] + change, -1), 1);
    }
  }

  function write(context) {
    context.fillStyle = "#000";
    context.fillRect(0, 0.83 * SIDE, SIDE, 0.17 * SIDE);
    context.fillStyle = "#fff";
    context.font = `bold ${Math.round(0.17 * SIDE)}px sans-serif`;
    context.textAlign = "center";
    context.textBaseline = "middle";
    context.fillText("synthetic", SIDE / 2, 0.91 * SIDE, 0.96 * SIDE);
  }

  // The DCT's orthonormal matrix, (grid, grid).
  function cosines(grid) {
    return Float64Array.from({ length: grid * grid }, (_, i) => {
      const k = Math.floor(i / grid), n = i % grid;
      return Math.sqrt((k ? 2 : 1) / grid) * Math.cos(Math.PI * k * (2 * n + 1) / (2 * grid));
    });
  }

  function transposed(matrix, grid) {
    return matrix.map((_, i) => matrix[(i % grid) * grid + Math.floor(i / grid)]);
  }

  // M P M^T of a matrix and a plane, all (grid, grid).
  function transform(plane, matrix, grid) {
    return product(product(matrix, transposed(plane, grid), grid), matrix, grid);
  }

  // A B^T, all (grid, grid).
  function product(a, b, grid) {
    return a.map((_, place) => {
      const row = Math.floor(place / grid) * grid, column = (place % grid) * grid;
      let sum = 0;
      for (let k = 0; k < grid; k++) sum += a[row + k] * b[column + k];
      return sum;
    });
  }

  // JPEG's luma, averaged over the pixels of each place of the grid.
  function lumaOf(context, grid) {
    const pixels = context.getImageData(0, 0, SIDE, SIDE).data, step = SIDE / grid;
    const luma = new Float64Array(grid * grid);
    for (let i = 0; i < SIDE * SIDE; i++) {
      const value = 0.299 * pixels[4 * i] + 0.587 * pixels[4 * i + 1] + 0.114 * pixels[4 * i + 2];
      luma[Math.floor(Math.floor(i / SIDE) / step) * grid + Math.floor((i % SIDE) / step)] += value / step ** 2;
    }
    return luma;
  }

  // How much each place hides: its deviation in 5 x 5 between two bounds, of mean 1; edges are mirrored.
  function contrastOf(luma, grid, [least, most]) {
    const mirrored = (i) => i < 0 ? -1 - i : i >= grid ? 2 * grid - 1 - i : i;
    const values = luma.map((_, place) => {
      let sum = 0, squares = 0;
      for (let y = -2; y <= 2; y++) {
        for (let x = -2; x <= 2; x++) {
          const value = luma[mirrored(Math.floor(place / grid) + y) * grid + mirrored(place % grid + x)];
          sum += value;
          squares += value * value;
        }
      }
      return Math.min(Math.max(Math.sqrt(Math.max(squares / 25 - (sum / 25) ** 2, 0)), least), most);
    });
    const mean = values.reduce((a, b) => a + b) / values.length;
    return values.map((value) => value / mean);
  }
}
