// Pictures of frames: one request at a time for what is wanted now, and the next few while playing.

import { ask } from "./api.js";
import { on, state, update } from "./state.js";
import { say } from "./toasts.js";

const MOST = 48;
const kept = new Map(); // "frame/size" -> {frame, time, size, bitmap}
const asked = new Map(); // the same of what is on its way
let busy = false;
let width = 1280;

export function wantWidth(pixels) {
  width = Math.max(320, Math.min(3840, Math.round(pixels)));
  load();
}

const step = () => [320, 480, 640, 960, 1280, 1600, 1920, 2560, 3840].find((one) => one >= width) ?? 3840;

function fetchPicture(frame) {
  const key = `${frame}/${step()}`;
  if (kept.has(key)) return Promise.resolve(kept.get(key));
  if (!asked.has(key)) asked.set(key, receive(frame, step(), key).finally(() => asked.delete(key)));
  return asked.get(key);
}

async function receive(frame, size, key) {
  const answer = await ask(`frames/${frame}?width=${size}`);
  const time = Number(answer.headers.get("x-time"));
  const picture = { frame, time, size, bitmap: await createImageBitmap(await answer.blob()) };
  kept.set(key, picture);
  for (const [old, other] of kept) {
    if (kept.size <= MOST) break;
    if (other !== state.shown && other !== picture) {
      other.bitmap.close();
      kept.delete(old);
    }
  }
  return picture;
}

const isShown = () => state.shown?.frame === state.frame && state.shown.size === step();

async function load() {
  if (busy || !state.video?.indexed) return;
  busy = true;
  try {
    // While somebody scrubs, what has come is better than nothing, and what is wanted now is next.
    while (!isShown()) update({ shown: await fetchPicture(state.frame) });
    if (state.playing) {
      for (const next of [1, 2, 3]) {
        const frame = state.frame + next;
        if (frame < state.video.indexed) fetchPicture(frame).catch(() => {});
      }
    }
  } catch (error) {
    say(error.message);
  } finally {
    busy = false;
  }
}

on("frame", load);
on("video", () => {
  if (!state.shown) load();
});
