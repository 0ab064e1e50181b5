// The keyboard: everything that the mouse does.

import { addCorner, cancelOutline, closeOutline, hasOutline, paintDot } from "./draw.js";
import { redo, undo } from "./edits.js";
import { addObject, removeSelected } from "./objects.js";
import { boxFrom, clearFrame, clickAt } from "./prompts.js";
import { nextFinding, nextWhich, toggleMasks } from "./results.js";
import { toggleRun } from "./run.js";
import { state, update } from "./state.js";
import { goTo, last, pause, press } from "./timeline.js";
import { clampToVideo, fit, zoomBy } from "./viewer.js";

const stage = document.querySelector("#stage");
const help = document.querySelector("#help");

const GROUPS = [
  ["Look", [
    ["← →", "previous, next frame"],
    ["Page Up, Page Down", "ten frames back, on"],
    ["Home, End", "first, last frame"],
    [", .", "previous, next keyframe of the video"],
    ["[ ]", "previous, next frame with prompts"],
    ["Space", "play, pause"],
    ["+ − 0", "zoom in, out, fit; the wheel zooms, the middle button moves"],
  ]],
  ["Point with the mouse", [
    ["Click", "this is on the object"],
    ["Right click, Shift-click", "this is off it; on a touch screen press long"],
    ["Drag", "a box around it"],
    ["Brush, Outline", "draw its mask; with Shift take away"],
  ]],
  ["Point with keys", [
    ["Shift + arrows", "move the cross; with Ctrl, too, by one pixel"],
    ["Enter, Shift + Enter", "click there: on the object, off it"],
    ["B", "a box from here; move, and Enter or B ends it"],
    ["P D L", "click, brush, outline: Enter sets a corner, C closes it"],
    ["X", "plain clicks are off, on the object"],
    ["Esc", "leave a box, an outline, what was found"],
  ]],
  ["Objects", [
    ["N", "new object"],
    ["1 … 9", "select an object; Esc selects none"],
    ["Backspace", "remove what is said of it on this frame"],
    ["Delete", "remove the object"],
    ["Ctrl + Z, Ctrl + Shift + Z", "undo, redo"],
    ["?", "this help"],
  ]],
  ["Run and judge", [
    ["G", "run, stop, continue"],
    ["M", "masks of the result over the video, or not"],
    ["V", "result after, before, side by side"],
    ["F, Shift + F", "next, previous place to look at"],
    ["Click on a mask", "it is that object, and the click corrects it"],
  ]],
];

function buildHelp() {
  const title = document.createElement("h2");
  title.id = "help-title";
  title.textContent = "Keys and clicks";
  const columns = document.createElement("div");
  columns.className = "columns";
  for (const [name, keys] of GROUPS) {
    const part = document.createElement("section");
    const heading = document.createElement("h3");
    heading.textContent = name;
    const table = document.createElement("dl");
    for (const [key, does] of keys) {
      const term = document.createElement("dt");
      const text = document.createElement("dd");
      term.textContent = key;
      text.textContent = does;
      table.append(term, text);
    }
    part.append(heading, table);
    columns.append(part);
  }
  const form = document.createElement("form");
  form.method = "dialog";
  const done = document.createElement("button");
  done.textContent = "Close";
  form.append(done);
  form.addEventListener("submit", (event) => {
    event.preventDefault(); // the policy of the page lets no form go anywhere
    help.close();
  });
  help.replaceChildren(title, columns, form);
}
buildHelp();
const showHelp = () => (help.open ? help.close() : help.showModal());
document.querySelector("#help-open").addEventListener("click", showHelp);

function moveCross(event) {
  const [dx, dy] = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
  const { width, height } = state.video;
  const step = event.ctrlKey || event.metaKey ? 1 : Math.max(2, Math.round(width / 60));
  const { x, y, from } = state.cursor ?? { x: width / 2, y: height / 2 };
  update({ cursor: { ...clampToVideo({ x: x + dx * step, y: y + dy * step }), from } });
}

function atCross() {
  if (!state.cursor && state.video) {
    update({ cursor: { x: state.video.width / 2, y: state.video.height / 2 } });
  }
  return state.cursor;
}

function box() {
  const cross = atCross();
  if (!cross.from) return update({ cursor: { ...cross, from: { x: cross.x, y: cross.y } } });
  update({ cursor: { x: cross.x, y: cross.y } });
  boxFrom(cross.from, cross);
}

function enter(event) {
  const cross = atCross();
  if (cross.from) return box();
  if (state.tool === "lasso") return addCorner({ x: cross.x, y: cross.y });
  const isOff = event.shiftKey || state.label === 0;
  if (state.tool === "brush") return paintDot(cross, isOff);
  clickAt(cross, isOff ? 0 : 1);
}

function escape() {
  if (hasOutline()) cancelOutline();
  else if (state.cursor?.from) update({ cursor: { x: state.cursor.x, y: state.cursor.y } });
  else if (state.candidates) update({ candidates: null });
  else if (state.cursor) update({ cursor: null });
  else update({ selected: null });
}

const jump = (by) => (pause(), goTo(state.frame + by));
const keys = {
  ArrowLeft: () => press("back"),
  ArrowRight: () => press("forward"),
  PageUp: () => jump(-10),
  PageDown: () => jump(10),
  Home: () => (pause(), goTo(0)),
  End: () => (pause(), goTo(last())),
  ",": () => press("previous-key"),
  ".": () => press("next-key"),
  "[": () => press("previous-mark"),
  "]": () => press("next-mark"),
  " ": () => press("play"),
  "+": () => zoomBy(1.25),
  "=": () => zoomBy(1.25),
  "-": () => zoomBy(0.8),
  0: fit,
  Enter: enter,
  b: box,
  c: closeOutline,
  p: () => update({ tool: "point" }),
  d: () => update({ tool: "brush" }),
  l: () => update({ tool: "lasso" }),
  x: () => update({ label: 1 - state.label }),
  g: toggleRun,
  m: toggleMasks,
  v: nextWhich,
  f: (event) => nextFinding(event.shiftKey ? -1 : 1),
  n: addObject,
  Backspace: clearFrame,
  Delete: removeSelected,
  Escape: escape,
  "?": showHelp,
};

document.addEventListener("keydown", (event) => {
  const { target } = event;
  if (help.open || event.altKey || !state.video?.width) return;
  if (target.matches("input:not([type=range]), select, textarea")) return;
  const isControl = event.ctrlKey || event.metaKey;
  const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
  if (isControl && key === "z") {
    event.preventDefault();
    return void (event.shiftKey ? redo() : undo());
  }
  if (isControl && key === "y") {
    event.preventDefault();
    return void redo();
  }
  if (key.startsWith("Arrow") && event.shiftKey) {
    event.preventDefault();
    return moveCross(event);
  }
  if (isControl) return;
  // A button takes Space and Enter for itself; a radio its arrows.
  if ((key === "Enter" || key === " ") && target.matches("button")) return;
  if (/^[1-9]$/.test(key)) {
    const object = state.project?.objects[Number(key) - 1];
    if (object) update({ selected: object.id });
    return;
  }
  const call = keys[key];
  if (call) {
    event.preventDefault();
    call(event);
  }
});
stage.addEventListener("focus", () => stage.classList.add("focused"));
stage.addEventListener("blur", () => stage.classList.remove("focused"));
