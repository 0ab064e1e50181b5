// Time: the scrubber, playing, and ways to a frame.

import { get } from "./api.js";
import { clock, frameAt, on, state, timeOf, update } from "./state.js";
import { say } from "./toasts.js";

const scrubber = document.querySelector("#scrubber");
const track = document.querySelector("#track");
const tip = document.querySelector("#tip");
const number = document.querySelector("#number");

export const last = () => Math.max(0, (state.video?.indexed ?? 1) - 1);
// All frames as far as anybody knows: those that the file's header claims, until all are indexed.
export const extent = () => {
  const { indexed = 1, claimed, finished } = state.video ?? {};
  return Math.max(1, finished ? indexed : Math.max(indexed, claimed ?? 0));
};

export function goTo(frame) {
  update({ frame: Math.min(Math.max(0, Math.round(frame)), last()) });
}

export function pause() {
  if (state.playing) update({ playing: false });
}

export function play() {
  if (state.playing) return pause();
  if (state.frame >= last()) goTo(0);
  update({ playing: true });
  const rate = state.video.rate || 25;
  let [began, from] = [performance.now(), state.frame];
  const step = (now) => {
    if (!state.playing) return;
    if (state.shown?.frame !== state.frame) {
      // The next picture is not here yet: time stands still until it is.
      [began, from] = [now, state.frame];
    } else {
      const wanted = from + Math.floor(((now - began) / 1000) * rate);
      if (wanted > state.frame) goTo(wanted);
      if (state.frame >= last()) return pause();
    }
    requestAnimationFrame(step);
  };
  requestAnimationFrame(step);
}

export async function toKeyframe(to) {
  try {
    const { frame } = await get(`keyframes/${state.frame}?to=${to}`);
    if (frame !== null) goTo(frame);
  } catch (error) {
    say(error.message);
  }
}

export function toMark(direction) {
  const frames = new Set();
  for (const object of state.project?.objects ?? []) {
    for (const prompt of object.prompts) frames.add(prompt.frame);
  }
  const sorted = [...frames].sort((a, b) => direction * (a - b));
  const found = sorted.find((frame) => direction * (frame - state.frame) > 0);
  if (found !== undefined) goTo(found);
}

const part = (frame) => `${(100 * frame) / Math.max(1, extent() - 1)}%`;

function frameUnder(event) {
  const box = track.getBoundingClientRect();
  const share = Math.min(1, Math.max(0, (event.clientX - box.left) / box.width));
  return Math.round(share * (extent() - 1));
}

function showTip(event) {
  const frame = frameUnder(event);
  tip.hidden = false;
  tip.textContent = frame <= last() ? `${clock(timeOf(frame))} · ${frame}` : "not indexed yet";
  const box = scrubber.getBoundingClientRect();
  const half = tip.offsetWidth / 2;
  tip.style.left = `${Math.min(Math.max(event.clientX - box.left, half), box.width - half)}px`;
}

let dragging = false;
scrubber.addEventListener("pointerdown", (event) => {
  dragging = true;
  pause();
  scrubber.setPointerCapture(event.pointerId);
  goTo(frameUnder(event));
});
scrubber.addEventListener("pointermove", (event) => {
  showTip(event);
  if (dragging) goTo(frameUnder(event));
});
for (const name of ["pointerup", "pointercancel"]) {
  scrubber.addEventListener(name, () => (dragging = false));
}
scrubber.addEventListener("pointerleave", () => (tip.hidden = true));

function ruler() {
  const box = document.querySelector("#ruler");
  const seconds = timeOf(last()) * ((extent() - 1) / Math.max(1, last()));
  const most = Math.max(2, Math.floor(box.clientWidth / 110));
  const steps = [0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200];
  const step = steps.find((one) => seconds / one <= most) ?? 14400;
  const marks = [];
  for (let at = 0; at <= seconds; at += step) {
    const mark = document.createElement("span");
    mark.style.left = part(Math.min(at > timeOf(last()) ? (at / seconds) * (extent() - 1) : frameAt(at), extent() - 1));
    mark.textContent = clock(at).replace(step < 1 ? /\d\d$/ : /\.\d+$/, "");
    marks.push(mark);
  }
  box.replaceChildren(...marks);
}

function marks() {
  const all = [];
  for (const object of state.project?.objects ?? []) {
    for (const prompt of object.prompts) {
      const mark = document.createElement("i");
      mark.style.left = part(prompt.frame);
      mark.style.background = object.colour;
      all.push(mark);
    }
  }
  document.querySelector("#marks").replaceChildren(...all);
}

function where() {
  const { shown, frame } = state;
  const time = shown?.frame === frame ? shown.time : timeOf(frame);
  const text = `${clock(time)} / ${clock(timeOf(last()))}`;
  document.querySelector("#where").textContent = text;
  document.querySelector("#head").style.left = part(frame);
  scrubber.setAttribute("aria-valuemax", last());
  scrubber.setAttribute("aria-valuenow", frame);
  scrubber.setAttribute("aria-valuetext", `frame ${frame}, ${clock(time)}`);
  if (document.activeElement !== number) number.value = frame;
}

function indexed() {
  document.querySelector("#indexed").style.width = part(last());
  ruler();
  marks();
  where();
}

document.querySelector("#go").addEventListener("submit", (event) => {
  event.preventDefault();
  const text = number.value.trim().replace(",", ".");
  const seconds = /^(\d+(?:\.\d+)?)\s*s$/.exec(text) ?? null;
  const parts = /^(?:(\d+):)?(\d+):(\d+(?:\.\d+)?)$/.exec(text);
  pause();
  if (seconds) goTo(frameAt(Number(seconds[1])));
  else if (parts) goTo(frameAt(Number(parts[1] ?? 0) * 3600 + Number(parts[2]) * 60 + Number(parts[3])));
  else if (/^\d+$/.test(text)) goTo(Number(text));
  else say(`wanted a frame number, or a time such as 12.5s or 1:02:03, got ${text || "nothing"}`);
  number.blur();
});

const buttons = {
  play,
  back: () => (pause(), goTo(state.frame - 1)),
  forward: () => (pause(), goTo(state.frame + 1)),
  "previous-key": () => (pause(), toKeyframe("previous")),
  "next-key": () => (pause(), toKeyframe("next")),
  "previous-mark": () => (pause(), toMark(-1)),
  "next-mark": () => (pause(), toMark(1)),
};
for (const [id, call] of Object.entries(buttons)) {
  document.querySelector(`#${id}`).addEventListener("click", call);
}
export const press = (id) => buttons[id]();

on("video", indexed);
on("project", marks);
on("frame shown", where);
on("playing", () => {
  const button = document.querySelector("#play");
  document.body.classList.toggle("playing", state.playing);
  button.setAttribute("aria-label", state.playing ? "Pause" : "Play");
});
new ResizeObserver(ruler).observe(scrubber);
