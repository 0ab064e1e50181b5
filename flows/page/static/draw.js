// Drawing a mask: a brush, or an outline that is filled. What is drawn goes on from the mask that is
// there; with the right button, Shift or "Off" it is taken away.

import { editSelected } from "./edits.js";
import { decodeMask, encodeMask } from "./rle.js";
import { objectOf, state } from "./state.js";
import { addTool } from "./prompts.js";
import { addLayer, redraw } from "./viewer.js";
import { say } from "./toasts.js";

const size = document.querySelector("#brush-size input");
let stroke = null; // {kind, places, isOff, radius}

function begin(kind) {
  return (place, event) => {
    const isOff = event.button === 2 || event.shiftKey || state.label === 0;
    stroke = { kind, isOff, places: [place], radius: Number(size.value) / 2 };
    redraw();
    return true;
  };
}

function move(place) {
  stroke?.places.push(place);
}

function path(context) {
  const [first, ...rest] = stroke.places;
  context.beginPath();
  context.moveTo(first.x, first.y);
  for (const { x, y } of rest) context.lineTo(x, y);
  if (stroke.kind === "lasso") {
    context.closePath();
    context.fill();
  } else {
    if (!rest.length) context.lineTo(first.x + 0.01, first.y);
    context.lineWidth = stroke.radius * 2;
    context.lineCap = context.lineJoin = "round";
    context.stroke();
  }
}

function finish() {
  if (!stroke) return;
  const { width, height } = state.video;
  const canvas = new OffscreenCanvas(width, height);
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.fillStyle = context.strokeStyle = "#fff";
  path(context);
  const drawn = context.getImageData(0, 0, width, height).data;
  const there = state.masks?.frame === state.frame && state.masks.masks.find(({ id }) => id === state.selected);
  const inside = there ? decodeMask(there.mask) : new Uint8Array(width * height);
  for (let at = 0; at < inside.length; at++) if (drawn[at * 4 + 3] > 127) inside[at] = stroke.isOff ? 0 : 1;
  stroke = null;
  redraw();
  if (!inside.some(Boolean)) {
    say("Nothing is left of the mask. To remove it, clear the frame.");
    return;
  }
  editSelected({ kind: "mask", frame: state.frame, mask: encodeMask(inside, height, width) });
}

// An outline by keyboard: a corner at a time.
export function addCorner(place) {
  stroke ??= { kind: "lasso", isOff: state.label === 0, places: [], radius: 0 };
  stroke.places.push(place);
  redraw();
}
export const closeOutline = () => (stroke?.places.length > 2 ? finish() : cancelOutline());
export function cancelOutline() {
  stroke = null;
  redraw();
}
export const hasOutline = () => stroke !== null;
export function paintDot(place, isOff) {
  stroke = { kind: "brush", isOff, places: [place], radius: Number(size.value) / 2 };
  finish();
}

addTool("brush", { down: begin("brush"), move, up: finish });
addTool("lasso", { down: begin("lasso"), move, up: () => (stroke?.places.length > 2 ? finish() : cancelOutline()) });
addLayer((context, pixel) => {
  if (!stroke) return;
  const colour = stroke.isOff ? "#d00000" : (objectOf(state.selected)?.colour ?? "#3b82f6");
  context.globalAlpha = 0.55;
  context.fillStyle = context.strokeStyle = colour;
  path(context);
  if (stroke.kind === "lasso") {
    context.globalAlpha = 1;
    context.lineWidth = 1.75 * pixel;
    context.stroke();
  }
});
