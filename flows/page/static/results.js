// The result over the video: its masks, lanes and findings; and the result before it, beside it.

import { get } from "./api.js";
import { addToEdits } from "./edits.js";
import { Lanes } from "./lanes.js";
import { addChooser } from "./prompts.js";
import { readMasks } from "./resultmasks.js";
import "./run.js";
import { clock, objectOf, on, promptOn, state, timeOf, update } from "./state.js";
import { extent, goTo, pause } from "./timeline.js";
import { say } from "./toasts.js";
import { addLayer, redraw, toVideo, view } from "./viewer.js";

const panel = document.createElement("section");
panel.className = "panel";
panel.id = "result-panel";
panel.hidden = true;
panel.setAttribute("aria-labelledby", "result-title");
panel.innerHTML = `
  <h2 id="result-title">Result</h2>
  <div class="row">
    <label><input id="result-shown" type="checkbox" checked> Masks over the video</label>
  </div>
  <div class="row" id="holds-row">
    <span id="holds-title" class="hint">A correction holds</span>
    <div id="holds" class="group" role="radiogroup" aria-labelledby="holds-title">
      <button type="button" role="radio" data-holds="here" aria-checked="true" title="Masks before this frame stay as they are">from its frame on</button>
      <button type="button" role="radio" data-holds="all" aria-checked="false" title="As SAM 2 does it: earlier frames see it, too">everywhere</button>
    </div>
  </div>
  <div id="which" class="group" role="radiogroup" aria-label="Which result" hidden>
    <button type="button" role="radio" data-which="now" aria-checked="true" title="The present result (V)">After</button>
    <button type="button" role="radio" data-which="before" aria-checked="false" title="The result that the last run replaced (V)">Before</button>
    <button type="button" role="radio" data-which="split" aria-checked="false" title="Before on the left, after on the right (V)">Side by side</button>
  </div>
  <h3 id="findings-title"></h3>
  <div id="findings"></div>`;
document.querySelector("#run-panel").after(panel);
const the = (id) => panel.querySelector(`#${id}`);

const lanesPlace = document.querySelector("#lanes");
const canvas = document.createElement("canvas");
canvas.id = "lanes-canvas";
canvas.setAttribute("role", "img");
lanesPlace.append(canvas);
lanesPlace.hidden = true;

const lanes = new Lanes(canvas, {
  onSeek: (frame) => {
    pause();
    goTo(frame);
  },
  onSelect: (id) => update({ selected: id }),
});

// -- masks ---------------------------------------------------------------------------------------

state.results = { now: null, before: null }; // FrameMasks of the frame that is shown
let split = 0.5; // where the edge between the two is, as a part of the stage
const busy = { now: false, before: false };
const drawn = new Map(); // FrameMasks -> its canvas
const fetched = new Map(); // what was asked for -> its FrameMasks, or a promise of them
const MOST_FETCHED = 12;

const keyOf = (which) => (which === "before" ? state.run?.before : state.run?.key);
const isWanted = (which) =>
  the("result-shown").checked && Boolean(keyOf(which)) && (state.which === which || state.which === "split");

function isCovered(frame) {
  return state.run.covered.some(([start, stop]) => start <= frame && frame < stop);
}

function fetchMasks(which, frame, key) {
  const scale = Math.min(1, Math.max(view().scale * (devicePixelRatio || 1), 0.05));
  const width = Math.max(1, Math.min(4096, Math.round(state.video.width * scale)));
  const height = Math.max(1, Math.min(4096, Math.round(state.video.height * scale)));
  const path = `result/${frame}?width=${width}&height=${height}&which=${which}`;
  const name = `${path}&${key}`;
  if (!fetched.has(name)) {
    const masks = get(path).then(readMasks);
    const forget = () => fetched.delete(name);
    masks.then((found) => found.key === key || forget(), forget);
    fetched.set(name, masks);
    if (fetched.size > MOST_FETCHED) fetched.delete(fetched.keys().next().value);
  }
  return fetched.get(name);
}

async function load(which) {
  if (busy[which] || !state.shown || !state.video?.width) return;
  busy[which] = true;
  try {
    while (isWanted(which)) {
      const frame = state.shown.frame;
      const known = state.results[which];
      const key = keyOf(which);
      if (which === "now" && !isCovered(frame)) {
        put(which, null);
        break;
      }
      if (known?.frame === frame && known.key === key) break;
      const masks = await fetchMasks(which, frame, key);
      if (masks.key === key) put(which, masks);
      else if (keyOf(which) === key) break; // the news bring what has changed, if they have not yet
    }
    // Masks of the next frames are there before these are shown.
    for (const next of state.playing && isWanted(which) ? [1, 2, 3] : []) {
      const frame = state.shown.frame + next;
      if (which === "before" || isCovered(frame)) fetchMasks(which, frame, keyOf(which)).catch(() => {});
    }
  } catch (error) {
    say(error.message);
  } finally {
    busy[which] = false;
  }
}

function put(which, masks) {
  drawn.delete(state.results[which]);
  state.results[which] = masks;
  document.body.dataset[which === "now" ? "result" : "before"] = masks ? masks.frame : "";
  redraw();
}

function loadAll() {
  load("now");
  load("before");
}

function pictureOf(masks, which) {
  // The masks of this frame's prompts are drawn beside these, and are newer.
  const prompted = which === "now" && state.masks?.frame === masks.frame ? state.masks.masks : [];
  const without = new Set(prompted.map(({ id }) => id));
  const as = [state.selected, ...without].join();
  if (drawn.get(masks)?.as !== as) {
    drawn.set(masks, { as, canvas: masks.draw(state.selected, without) });
  }
  return drawn.get(masks).canvas;
}

addLayer((over, unit) => {
  if (!state.shown || !state.video?.width || !the("result-shown").checked) return;
  const { width, height } = state.video;
  const paint = (which, from, to) => {
    const masks = state.results[which];
    if (masks?.frame !== state.shown.frame || masks.key !== keyOf(which)) return;
    over.save();
    over.beginPath();
    over.rect(from, 0, to - from, height);
    over.clip();
    over.imageSmoothingEnabled = false;
    over.drawImage(pictureOf(masks, which), 0, 0, width, height);
    over.restore();
  };
  if (state.which !== "split") {
    paint(state.which, 0, width);
    return;
  }
  const middle = split * width;
  paint("before", 0, middle);
  paint("now", middle, width);
  placeEdge();
  over.font = `600 ${13 * unit}px system-ui, sans-serif`;
  over.textBaseline = "top";
  for (const [text, align, x] of [["Before", "right", middle - 10 * unit], ["After", "left", middle + 10 * unit]]) {
    over.textAlign = align;
    over.lineWidth = 3 * unit;
    over.strokeStyle = "rgba(0, 0, 0, .75)";
    over.fillStyle = "#fff";
    over.strokeText(text, x, 8 * unit);
    over.fillText(text, x, 8 * unit);
  }
});

/** The object under a pixel of the video in what is shown of the result, or null. */
export function resultAt({ x, y }) {
  if (!state.shown || !the("result-shown").checked) return null;
  const which = state.which === "split" ? (x < split * state.video.width ? "before" : "now") : state.which;
  const masks = state.results[which];
  if (masks?.frame !== state.shown.frame) return null;
  return masks.at(x, y, state.video.width, state.video.height);
}

// A click on a mask of the result is for its object, unless the object that is selected is being
// corrected on this frame already.
addChooser((place) => {
  if (state.run?.state !== "done" && state.run?.state !== "stopped") return null;
  if (promptOn(objectOf(state.selected), state.frame)) return null;
  const id = resultAt(place);
  return id !== null && objectOf(id) ? id : null;
});

// What is said of an object that was tracked up to here already is a correction.
addToEdits((what) => {
  const isCorrection =
    state.holds === "here" && state.run?.state === "done" && what.id != null &&
    ["point", "box", "mask"].includes(what.kind) &&
    objectOf(what.id)?.prompts.some((prompt) => prompt.frame < what.frame) &&
    !promptOn(objectOf(what.id), what.frame);
  return isCorrection ? { ...what, from_here: true } : what;
});

export function chooseWhich(which) {
  if (!state.run?.before && which !== "now") return;
  update({ which });
}

export function nextWhich() {
  const all = ["now", "before", "split"];
  chooseWhich(all[(all.indexOf(state.which) + 1) % all.length]);
}

// The edge between the two results can be dragged, or moved by the arrow keys.
const edge = document.createElement("div");
edge.id = "edge";
edge.tabIndex = 0;
edge.hidden = true;
edge.setAttribute("role", "slider");
edge.setAttribute("aria-label", "Edge between the result before, on the left, and after");
document.querySelector("#stage").append(edge);

function moveEdge(to) {
  split = Math.min(0.98, Math.max(0.02, to));
  placeEdge();
  redraw();
}

function placeEdge() {
  edge.hidden = state.which !== "split" || !state.video?.width;
  if (edge.hidden) return;
  const { scale, left } = view();
  edge.style.left = `${left + split * state.video.width * scale}px`;
  edge.setAttribute("aria-valuenow", Math.round(100 * split));
}

edge.addEventListener("pointerdown", (event) => {
  edge.setPointerCapture(event.pointerId);
  event.stopPropagation();
});
edge.addEventListener("pointermove", (event) => {
  if (edge.hasPointerCapture(event.pointerId)) moveEdge(toVideo(event).x / state.video.width);
});
edge.addEventListener("keydown", (event) => {
  const by = { ArrowLeft: -0.02, ArrowRight: 0.02 }[event.key];
  if (!by || event.shiftKey) return;
  event.preventDefault();
  event.stopPropagation();
  moveEdge(split + by);
});

// -- lanes and findings --------------------------------------------------------------------------

let seen = "";
let reading = false;

async function readLanes() {
  const which = state.which === "before" ? "before" : "now";
  const key = keyOf(which);
  if (!key) {
    lanesPlace.hidden = panel.hidden = true;
    return;
  }
  lanesPlace.hidden = false;
  panel.hidden = !state.run.covered.length && !state.run.before;
  const wanted = `${which} ${key} ${state.run.chunks?.done} ${lanes.bins}`;
  if (wanted === seen || reading) return;
  reading = true;
  if (!lanes.data) the("findings-title").textContent = "Reading the masks …";
  try {
    const data = await get(`lanes?bins=${lanes.bins}&which=${which}`);
    seen = wanted;
    lanes.show({ data });
    listFindings(data.findings);
    canvas.setAttribute("aria-label", describe(data));
    document.body.dataset.lanes = data.objects.length;
  } catch (error) {
    seen = wanted;
    say(error.message);
  } finally {
    reading = false;
  }
  readLanes();
}

function describe(data) {
  const rows = data.objects.map(
    (one) => `object ${one.id}${one.label ? ` ${one.label}` : ""}: present on ${one.shown} of ${one.frames} frames`,
  );
  return `Objects along the video. ${rows.join("; ")}`;
}

function listFindings({ total, kinds }) {
  the("findings-title").textContent = total
    ? `${total} ${total === 1 ? "place" : "places"} to look at`
    : "Nothing odd was found";
  const labels = new Map((lanes.data?.objects ?? []).map((one) => [one.id, one.label]));
  the("findings").replaceChildren(
    ...kinds.map((kind) => {
      const part = document.createElement("details");
      part.open = true;
      const head = document.createElement("summary");
      head.textContent = `${kind.heading} (${kind.count})`;
      const list = document.createElement("ul");
      list.append(...kind.worst.map((found) => entry(found, labels)));
      part.append(head, list);
      return part;
    }),
  );
}

function entry(found, labels) {
  const item = document.createElement("li");
  const button = document.createElement("button");
  button.type = "button";
  button.className = "finding";
  const who = found.object === null ? "" : `${labels.get(found.object) || `object ${found.object}`}: `;
  const where = document.createElement("b");
  where.textContent = `${clock(timeOf(found.frame))} · ${found.frame}`;
  button.append(where, ` ${who}${found.text}`);
  button.addEventListener("click", () => goToFinding(found));
  item.append(button);
  return item;
}

export function nextFinding(direction) {
  const all = (lanes.data?.findings.kinds ?? []).flatMap((kind) => kind.worst);
  all.sort((a, b) => direction * (a.frame - b.frame));
  const found = all.find((one) => direction * (one.frame - state.frame) > 0);
  if (found) goToFinding(found);
}

function goToFinding(found) {
  pause();
  goTo(found.frame);
  update({ selected: found.object ?? state.selected });
}

export function toggleMasks() {
  the("result-shown").click();
}

function showLanes() {
  lanes.show({
    frames: extent(),
    frame: state.frame,
    covered: state.run?.covered ?? [],
    atWork: state.run?.chunks?.at_work ?? [],
    selected: state.selected,
    prompts: (state.project?.objects ?? []).flatMap((one) =>
      one.prompts.map((prompt) => ({ id: one.id, frame: prompt.frame })),
    ),
  });
}

the("result-shown").addEventListener("change", () => {
  loadAll();
  redraw();
});
the("which").addEventListener("click", (event) => {
  const button = event.target.closest("[data-which]");
  if (button) chooseWhich(button.dataset.which);
});
on("run which", () => {
  the("which").hidden = !state.run?.before;
  if (!state.run?.before && state.which !== "now") update({ which: "now" });
  for (const button of the("which").children) {
    button.setAttribute("aria-checked", String(button.dataset.which === state.which));
  }
  placeEdge();
  readLanes();
  loadAll();
  redraw();
});
the("holds").addEventListener("click", (event) => {
  const button = event.target.closest("[data-holds]");
  if (button) update({ holds: button.dataset.holds });
});
on("holds", () => {
  for (const button of the("holds").children) {
    button.setAttribute("aria-checked", String(button.dataset.holds === state.holds));
  }
});
on("shown", loadAll);
on("selected", redraw);
on("video frame run project selected", showLanes);
addEventListener("resize", readLanes);
