// A reader's own picture: chosen, cropped by a box, handed to the lab. It never leaves the page.
"use strict";

{
  const LEAST_SIDE = 0.1; // of the picture's shorter side
  const CORNER = 24; // screen pixels around the box's lower right corner that change its size
  const element = (id) => document.getElementById(id);
  let photo = null; // ImageBitmap
  let box = null; // { left, top, side } in the photo's pixels

  // Wire the form. `changed(image or null, use)` is told of a new crop, (3, size, size) in [-1, 1].
  SwapLab.own = (changed) => {
    const canvas = element("lab-photo"), uses = new Set();
    const tell = () => uses.forEach((use) => changed(crop(), use));
    element("lab-file").disabled = false;
    element("lab-file").addEventListener("change", async (event) => {
      const [file] = event.target.files;
      if (!file) return;
      try {
        photo = await createImageBitmap(file);
      } catch {
        SwapLab.say(`${file.name} is no picture that this browser can read.`);
        return;
      }
      const side = Math.min(photo.width, photo.height);
      box = { left: (photo.width - side) / 2, top: (photo.height - side) / 2, side };
      element("lab-crop").hidden = false;
      SwapLab.say("Your picture is here. Put the box around the face, then choose what to use it as.");
      show();
      tell();
    });
    for (const [id, use] of [["lab-as-source", "source"], ["lab-as-target", "target"]]) {
      element(id).addEventListener("click", () => { uses.add(use); changed(crop(), use); });
    }
    element("lab-remove").addEventListener("click", () => {
      photo = null;
      element("lab-file").focus(); // else the focus is lost with this button
      element("lab-crop").hidden = true;
      element("lab-file").value = "";
      uses.forEach((use) => changed(null, use));
      uses.clear();
    });
    for (const id of ["lab-left", "lab-top", "lab-side"]) {
      element(id).addEventListener("input", () => { move(fromSliders()); });
      element(id).addEventListener("change", tell);
    }
    drag(canvas, tell);
  };

  // The box, kept inside of the photo.
  function move({ left, top, side }) {
    const shorter = Math.min(photo.width, photo.height);
    side = Math.min(Math.max(side, LEAST_SIDE * shorter), shorter);
    left = Math.min(Math.max(left, 0), photo.width - side);
    top = Math.min(Math.max(top, 0), photo.height - side);
    box = { left, top, side };
    show();
  }

  function fromSliders() {
    const value = (id) => Number(element(id).value), side = value("lab-side") * Math.min(photo.width, photo.height);
    return { left: value("lab-left") * (photo.width - side), top: value("lab-top") * (photo.height - side), side };
  }

  function toSliders() {
    const share = (value, range) => range > 0 ? value / range : 0;
    element("lab-side").value = box.side / Math.min(photo.width, photo.height);
    element("lab-left").value = share(box.left, photo.width - box.side);
    element("lab-top").value = share(box.top, photo.height - box.side);
  }

  // Draw the photo, darker outside of the box, with the lines of eyes and mouth.
  function show() {
    const canvas = element("lab-photo"), scale = Math.min(320 / photo.width, 320 / photo.height);
    canvas.width = Math.round(photo.width * scale);
    canvas.height = Math.round(photo.height * scale);
    const context = canvas.getContext("2d"), [left, top, side] = [box.left, box.top, box.side].map((x) => x * scale);
    context.drawImage(photo, 0, 0, canvas.width, canvas.height);
    context.fillStyle = "rgb(0 0 0 / 55%)";
    context.beginPath();
    context.rect(0, 0, canvas.width, canvas.height);
    context.rect(left, top, side, side);
    context.fill("evenodd");
    for (const [color, width] of [["#000", 4], ["#fff", 2]]) { // seen on light and on dark
      context.strokeStyle = context.fillStyle = color;
      context.lineWidth = width;
      context.setLineDash([]);
      context.strokeRect(left, top, side, side);
      context.fillRect(left + side - 8 - width, top + side - 8 - width, 8 + width, 8 + width);
      context.setLineDash([6, 6]);
      context.beginPath();
      for (const height of [SwapLab.facts.eyes, SwapLab.facts.mouth]) {
        context.moveTo(left, top + height * side);
        context.lineTo(left + side, top + height * side);
      }
      context.stroke();
    }
    toSliders();
  }

  // Pointers: the lower right corner changes the size, everything else moves the box.
  function drag(canvas, tell) {
    let held = null;
    const at = (event) => {
      const shown = canvas.getBoundingClientRect(), scale = photo.width / shown.width;
      return { x: (event.clientX - shown.left) * scale, y: (event.clientY - shown.top) * scale, scale };
    };
    canvas.addEventListener("pointerdown", (event) => {
      const { x, y, scale } = at(event), near = CORNER * scale;
      const corner = Math.abs(x - box.left - box.side) < near && Math.abs(y - box.top - box.side) < near;
      held = { corner, x, y, box };
      canvas.setPointerCapture(event.pointerId);
      event.preventDefault();
    });
    canvas.addEventListener("pointermove", (event) => {
      if (!held) return;
      const { x, y } = at(event), dx = x - held.x, dy = y - held.y, { left, top, side } = held.box;
      if (!held.corner) return move({ left: left + dx, top: top + dy, side });
      const most = Math.min(photo.width - left, photo.height - top); // the other corner stays
      move({ left, top, side: Math.min(side + Math.max(dx, dy), most) });
    });
    for (const end of ["pointerup", "pointercancel"]) {
      canvas.addEventListener(end, () => {
        if (held) tell();
        held = null;
      });
    }
  }

  function crop() {
    const size = SwapLab.facts.size, canvas = document.createElement("canvas");
    canvas.width = canvas.height = size;
    const context = canvas.getContext("2d", { willReadFrequently: true });
    context.imageSmoothingQuality = "high";
    context.drawImage(photo, box.left, box.top, box.side, box.side, 0, 0, size, size);
    return SwapLab.imageOf(context, size);
  }
}
