// What a detector finds on this frame, to be taken for objects by a click.

import { get, post } from "./api.js";
import { edit } from "./edits.js";
import { decodeMask, maskPicture } from "./rle.js";
import { on, state, update } from "./state.js";
import { addTool } from "./prompts.js";
import { addLayer } from "./viewer.js";
import { say } from "./toasts.js";

const COLOURS = ["#22d3ee", "#a3e635", "#f472b6", "#fbbf24", "#818cf8", "#fb7185"];
const select = document.querySelector("#detector");
const words = document.querySelector("#words");
const button = document.querySelector("#find-now");
let detectors = [];

async function offer() {
  ({ detectors } = await get("detectors"));
  select.replaceChildren(
    ...detectors.map(({ id, name, about }) => {
      const option = new Option(name, id);
      option.title = about;
      return option;
    }),
  );
  chosen();
}

const current = () => detectors.find(({ id }) => id === Number(select.value));
function chosen() {
  document.querySelector("#words-row").hidden = !current()?.takesText;
  select.title = current()?.about ?? "";
}
select.addEventListener("change", chosen);

document.querySelector("#find").addEventListener("submit", async (event) => {
  event.preventDefault();
  const frame = state.frame;
  button.disabled = true;
  button.textContent = "Looking …";
  try {
    const { candidates } = await post(`candidates/${frame}`, { detector: Number(select.value), text: words.value });
    if (frame !== state.frame) return;
    if (!candidates.length) say("Nothing was found on this frame.");
    const list = candidates.map((one, place) => ({
      ...one,
      inside: decodeMask(one.mask),
      picture: maskPicture(one.mask, COLOURS[place % COLOURS.length], { alpha: 0.25 }),
    }));
    update({ candidates: list.length ? { frame, list, hover: null } : null });
  } catch (error) {
    say(error.message);
  } finally {
    button.disabled = false;
    button.textContent = "Find";
  }
});
const close = () => update({ candidates: null });
document.querySelector("#find-close").addEventListener("click", close);

async function take(place) {
  const one = state.candidates?.list[place];
  if (!one) return;
  const made = await edit({ kind: "mask", id: null, frame: state.frame, mask: one.mask });
  if (made && one.label) await edit({ kind: "rename", id: made.object, label: one.label });
  if (!made || !state.candidates) return;
  const list = state.candidates.list.filter((other) => other !== one);
  update({ candidates: list.length ? { ...state.candidates, list, hover: null } : null });
}

// The smallest candidate at a place: what lies within another one can be reached.
function at({ x, y }) {
  const pixel = Math.floor(y) * state.video.width + Math.floor(x);
  let best = null;
  state.candidates.list.forEach((one, place) => {
    if (one.inside[pixel] && (best === null || one.area < state.candidates.list[best].area)) best = place;
  });
  return best;
}

addTool("candidates", {
  down: () => true,
  up: (place) => {
    const found = at(place);
    if (found !== null) take(found);
  },
  hover: (place) => {
    const hover = at(place);
    if (hover !== state.candidates.hover) update({ candidates: { ...state.candidates, hover } });
  },
});

addLayer((context) => {
  if (!state.candidates || state.candidates.frame !== state.shown?.frame) return;
  state.candidates.list.forEach(({ picture }, place) => {
    context.globalAlpha = state.candidates.hover === null || state.candidates.hover === place ? 1 : 0.35;
    context.drawImage(picture, 0, 0);
  });
});

function list() {
  const box = document.querySelector("#found");
  const items = (state.candidates?.list ?? []).map((one, place) => {
    const item = document.createElement("li");
    const pick = document.createElement("button");
    pick.type = "button";
    pick.textContent = `${one.label || `region ${place + 1}`} · ${one.score.toFixed(2)}`;
    pick.addEventListener("click", () => take(place));
    for (const name of ["pointerenter", "focus"]) {
      pick.addEventListener(name, () => {
        if (state.candidates && state.candidates.hover !== place) {
          state.candidates.hover = place;
          update({ candidates: { ...state.candidates } });
        }
      });
    }
    item.append(pick);
    return item;
  });
  if (box.childElementCount !== items.length) box.replaceChildren(...items);
  document.querySelector("#find-close").hidden = !items.length;
  document.body.classList.toggle("choosing", items.length > 0);
}

on("candidates", list);
on("frame", () => state.candidates && close());
offer().catch((error) => say(error.message));
