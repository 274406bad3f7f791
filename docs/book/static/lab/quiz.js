// "Can you tell which is which?": swap, true swap and paint bucket of a pair, in an order of chance.
"use strict";

{
  const NAMES = { true: "the true swap", swap: "the swapper's", bucket: "the paint bucket's" };
  const element = (id) => document.getElementById(id);
  let right = 0, asked = 0;

  // Wire the quiz; `pair(source, target)` gives the images of a pair: x_source, x_target, swap, true, bucket.
  SwapLab.quiz = (pair) => {
    const next = element("lab-next");
    next.addEventListener("click", () => ask(pair));
    return ask(pair);
  };

  async function ask(pair) {
    const { sources, targets } = SwapLab.facts, chance = (count) => Math.floor(Math.random() * count);
    element("lab-next").disabled = true;
    const images = await pair(chance(sources), chance(targets));
    const order = shuffled(Object.keys(NAMES)), place = element("lab-quiz");
    place.replaceChildren(still("source", images.x_source), still("target", images.x_target));
    order.forEach((kind, i) => place.append(choice(kind, i + 1, images[kind], order)));
    element("lab-verdict").textContent = "";
    element("lab-next").disabled = false;
  }

  function shuffled(list) {
    for (let i = list.length - 1; i > 0; i--) {
      const j = Math.floor(Math.random() * (i + 1));
      [list[i], list[j]] = [list[j], list[i]];
    }
    return list;
  }

  function still(name, image) {
    const figure = document.createElement("figure"), caption = document.createElement("figcaption");
    const canvas = SwapLab.canvas(`The ${name} of this question`);
    SwapLab.paint(canvas, image);
    caption.textContent = name;
    figure.append(canvas, caption);
    return figure;
  }

  function choice(kind, number, image, order) {
    const button = document.createElement("button"), caption = document.createElement("span");
    const canvas = document.createElement("canvas");
    canvas.setAttribute("aria-hidden", "true"); // the words below it name the button
    SwapLab.paint(canvas, image);
    caption.textContent = `picture ${number}`;
    button.type = "button";
    button.dataset.kind = kind;
    button.append(canvas, caption);
    button.addEventListener("click", () => answer(kind, order));
    return button;
  }

  function answer(kind, order) {
    const buttons = [...element("lab-quiz").querySelectorAll("button")];
    if (buttons.some((button) => button.getAttribute("aria-disabled"))) return;
    right += kind === "true";
    asked += 1;
    for (const button of buttons) { // not "disabled": the focus would be lost
      button.setAttribute("aria-disabled", "true");
      button.lastChild.textContent = NAMES[button.dataset.kind];
      button.classList.toggle("lab-right", button.dataset.kind === "true");
    }
    const told = order.map((name, i) => `${i + 1} is ${NAMES[name]}`).join(", ");
    element("lab-verdict").textContent = `${kind === "true" ? "Right" : "Wrong"}: picture ${told}.`;
    element("lab-score").textContent = `Score: ${right} of ${asked}. Guessing gives 1 of 3.`;
  }
}
