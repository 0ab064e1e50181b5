// Pointing: clicks and boxes on the picture, and what has been said of this frame.

import { edit, editSelected } from "./edits.js";
import { objectOf, on, promptOn, state, update } from "./state.js";
import { addLayer, clampToVideo, isInside, isZoomed, panBy, redraw, toVideo } from "./viewer.js";

const stage = document.querySelector("#stage");
const DRAG_PX = 6;
const HOLD_MS = 550;
const round = (value) => Math.round(value * 100) / 100;
let drag = null; // {x, y, event, box, held}
const tools = new Map(); // name -> {down, move, up}: tools of other modules
const touches = new Map();
const choosers = [];

// Another tool for the pointer: `down`, `move` and `up` get a place in pixels of the video and the
// event; `down` answers whether it begins anything.
export function addTool(name, tool) {
  tools.set(name, tool);
}

// Another way to find the object that a click is for: gives its id, or null.
export function addChooser(choose) {
  choosers.push(choose);
}

export function clickAt({ x, y }, label) {
  const place = clampToVideo({ x, y });
  const said = { kind: "point", frame: state.frame, x: round(place.x), y: round(place.y), label };
  const id = choosers.reduce((found, choose) => found ?? choose(place), null);
  return id === null ? editSelected(said) : edit({ ...said, id });
}

export function boxFrom(a, b) {
  const [p, q] = [clampToVideo(a), clampToVideo(b)];
  const box = [Math.min(p.x, q.x), Math.min(p.y, q.y), Math.max(p.x, q.x), Math.max(p.y, q.y)].map(round);
  if (box[2] - box[0] < 1 || box[3] - box[1] < 1) return null;
  return editSelected({ kind: "box", frame: state.frame, box });
}

export function clearFrame() {
  if (promptOn(objectOf(state.selected), state.frame)) {
    edit({ kind: "clear", id: state.selected, frame: state.frame });
  }
}

const isOff = (event) => event.button === 2 || event.shiftKey || state.label === 0;

stage.addEventListener("pointerdown", (event) => {
  if (event.target.closest("button")) return;
  stage.focus({ preventScroll: true });
  if (event.pointerType === "touch") {
    touches.set(event.pointerId, event);
    if (touches.size > 1) {
      drag = null; // two fingers move the picture
      return;
    }
  }
  const place = toVideo(event);
  if (event.button === 1) {
    drag = { pan: true, event };
  } else if (!isInside(place) || state.playing || state.shown?.frame !== state.frame) {
    return;
  } else {
    const tool = state.candidates ? tools.get("candidates") : tools.get(state.tool);
    if (tool?.down(place, event)) drag = { tool };
    else if (!tool) {
      drag = { ...place, event, isOff: isOff(event), held: false };
      if (event.pointerType === "touch") {
        const mine = drag;
        setTimeout(() => {
          if (drag === mine && !mine.box) {
            mine.held = true;
            redraw();
          }
        }, HOLD_MS);
      }
    }
  }
  if (drag) stage.setPointerCapture(event.pointerId);
  event.preventDefault();
});

stage.addEventListener("pointermove", (event) => {
  const place = toVideo(event);
  if (touches.size === 2 && touches.has(event.pointerId)) {
    const before = touches.get(event.pointerId);
    if (isZoomed()) panBy((event.clientX - before.clientX) / 2, (event.clientY - before.clientY) / 2);
    touches.set(event.pointerId, event);
    return;
  }
  if (!drag) {
    if (state.candidates) tools.get("candidates")?.hover?.(place);
    return;
  }
  if (drag.pan) {
    panBy(event.clientX - drag.event.clientX, event.clientY - drag.event.clientY);
    drag.event = event;
  } else if (drag.tool) {
    drag.tool.move?.(place, event);
  } else if (Math.hypot(event.clientX - drag.event.clientX, event.clientY - drag.event.clientY) > DRAG_PX) {
    if (!drag.held) drag.box = clampToVideo(place);
  }
  redraw();
});

function end(event) {
  touches.delete(event.pointerId);
  const done = drag;
  drag = null;
  redraw();
  if (!done || done.pan) return;
  if (done.tool) {
    done.tool.up?.(toVideo(event), event);
  } else if (event.type === "pointerup") {
    // By the clock of the finger: a busy page hears late that it was lifted.
    const isLong = done.held && event.timeStamp - done.event.timeStamp >= HOLD_MS;
    if (done.box) boxFrom(done, done.box);
    else clickAt(done, done.isOff || isLong ? 0 : 1);
  }
}
stage.addEventListener("pointerup", end);
stage.addEventListener("pointercancel", end);
stage.addEventListener("contextmenu", (event) => event.preventDefault());

function dot(context, pixel, x, y, label, colour, isSelected) {
  context.beginPath();
  context.arc(x, y, (isSelected ? 7 : 5) * pixel, 0, 2 * Math.PI);
  context.fillStyle = label ? colour : "#fff";
  context.fill();
  context.lineWidth = 2 * pixel;
  context.strokeStyle = label ? "#fff" : "#d00";
  context.stroke();
  context.beginPath();
  context.moveTo(x - 3 * pixel, y);
  context.lineTo(x + 3 * pixel, y);
  if (label) {
    context.moveTo(x, y - 3 * pixel);
    context.lineTo(x, y + 3 * pixel);
  }
  context.strokeStyle = label ? "#000" : "#d00";
  context.lineWidth = 1.5 * pixel;
  context.stroke();
}

function rectangle(context, pixel, [x1, y1, x2, y2], colour) {
  context.lineWidth = 3.5 * pixel;
  context.strokeStyle = "rgba(0,0,0,.55)";
  context.strokeRect(x1, y1, x2 - x1, y2 - y1);
  context.lineWidth = 1.75 * pixel;
  context.strokeStyle = colour;
  context.strokeRect(x1, y1, x2 - x1, y2 - y1);
}

addLayer((context, pixel) => {
  if (state.shown?.frame === state.frame) {
    for (const object of state.project?.objects ?? []) {
      const prompt = promptOn(object, state.frame);
      const isSelected = object.id === state.selected;
      if (prompt?.box) rectangle(context, pixel, prompt.box, object.colour);
      for (const [x, y, label] of prompt?.points ?? []) {
        dot(context, pixel, x, y, label, object.colour, isSelected);
      }
    }
  }
  const colour = objectOf(state.selected)?.colour ?? "#3b82f6";
  if (drag?.box) rectangle(context, pixel, [drag.x, drag.y, drag.box.x, drag.box.y], colour);
  else if (drag?.held) dot(context, pixel, drag.x, drag.y, 0, colour, true);
  if (state.cursor) {
    const { x, y, from } = state.cursor;
    if (from) rectangle(context, pixel, [from.x, from.y, x, y], colour);
    for (const [style, width] of [["#000", 3.5], ["#fff", 1.5]]) {
      context.beginPath();
      context.moveTo(x - 12 * pixel, y);
      context.lineTo(x + 12 * pixel, y);
      context.moveTo(x, y - 12 * pixel);
      context.lineTo(x, y + 12 * pixel);
      context.strokeStyle = style;
      context.lineWidth = width * pixel;
      context.stroke();
    }
  }
});

for (const button of document.querySelectorAll("[data-label]")) {
  button.addEventListener("click", () => update({ label: Number(button.dataset.label) }));
}
for (const button of document.querySelectorAll("[data-tool]")) {
  button.addEventListener("click", () => update({ tool: button.dataset.tool }));
}
function radios() {
  for (const [name, value] of [["label", String(state.label)], ["tool", state.tool]]) {
    for (const button of document.querySelectorAll(`[data-${name}]`)) {
      button.setAttribute("aria-checked", String(button.dataset[name] === value));
    }
  }
  document.querySelector("#brush-size").hidden = state.tool !== "brush";
  stage.dataset.tool = state.tool;
}
on("label tool", radios);
radios();
