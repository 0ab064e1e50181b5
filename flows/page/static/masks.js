// The masks of this frame's prompts: asked for after each change, drawn over the picture.

import { get, post } from "./api.js";
import { maskPicture } from "./rle.js";
import { objectOf, on, promptOn, state, update } from "./state.js";
import { say } from "./toasts.js";
import { addLayer } from "./viewer.js";

const ENCODE_AFTER_MS = 250;
let asking = null;
let encoding = false;
let timer = 0;
const drawn = new Map(); // counts and colour -> canvas

const isReady = () => state.model?.state === "ready";
const hasPrompts = (frame) =>
  state.project?.objects.some((item) => promptOn(item, frame)?.ready) ?? false;

async function refresh() {
  const [frame, revision] = [state.frame, state.project?.revision];
  if (!state.project || state.playing) return;
  if (!hasPrompts(frame)) {
    update({ masks: { frame, revision, masks: [] } });
    return;
  }
  if (!isReady() || asking === `${frame}/${revision}`) return;
  asking = `${frame}/${revision}`;
  showBusy();
  const began = performance.now();
  try {
    const answer = await get(`masks/${frame}`);
    if (frame === state.frame && answer.revision >= (state.masks?.frame === frame ? state.masks.revision : 0)) {
      document.body.dataset.masked = Math.round(performance.now() - began);
      update({ masks: { frame, ...answer } });
    }
  } catch (error) {
    say(error.message);
  } finally {
    if (asking === `${frame}/${revision}`) asking = null;
    showBusy();
  }
}

// A frame that somebody rests on is encoded before the first click.
function encodeSoon() {
  clearTimeout(timer);
  if (!isReady() || state.playing || !state.shown) return;
  timer = setTimeout(async () => {
    if (encoding || state.playing) return;
    encoding = true;
    const frame = state.frame;
    try {
      await post(`encode/${frame}`);
    } catch (error) {
      if (error.status !== 422) say(error.message);
    } finally {
      encoding = false;
      if (frame !== state.frame) encodeSoon();
    }
  }, ENCODE_AFTER_MS);
}

function showBusy() {
  const box = document.querySelector("#busy");
  const isEncoding = state.encode && !state.encode.done;
  box.hidden = !(isEncoding || asking);
  document.querySelector("#busy-text").textContent = isEncoding
    ? `Encoding frame ${state.encode.frame} …`
    : "";
  box.classList.toggle("quiet", !isEncoding);
}

function pictureOf(mask, colour) {
  const key = `${colour}/${mask.counts}`;
  if (!drawn.has(key)) {
    if (drawn.size >= 24) drawn.delete(drawn.keys().next().value);
    drawn.set(key, maskPicture(mask, colour));
  }
  return drawn.get(key);
}

addLayer((context) => {
  if (!state.masks || state.masks.frame !== state.shown?.frame) return;
  for (const { id, mask } of state.masks.masks) {
    const object = objectOf(id);
    if (!object) continue;
    context.globalAlpha = state.selected === null || state.selected === id ? 1 : 0.75;
    context.drawImage(pictureOf(mask, object.colour), 0, 0);
  }
});

on("masks shown", () => {
  const isShown = state.masks && state.masks.frame === state.shown?.frame;
  document.body.dataset.masks = isShown ? state.masks.masks.map(({ id }) => id).join(" ") : "";
});
on("frame project model playing", refresh);
on("shown model playing", encodeSoon);
on("encode masks", showBusy);
