// The page: brings its modules together, and says what the server is at.

import "./masks.js";
import "./prompts.js";
import "./objects.js";
import "./draw.js";
import "./candidates.js";
import "./keys.js";
import "./timeline.js";
import "./run.js";
import "./results.js";
import { fit } from "./viewer.js";
import { follow, on, state } from "./state.js";
import { say } from "./toasts.js";

document.querySelector("#fit").addEventListener("click", fit);

function notes() {
  const lines = [];
  const { video, work, model } = state;
  if (video && !video.finished && !video.error) {
    const isOther = work?.total && !work.what.startsWith("scanning");
    const of = video.claimed ? ` of ${video.claimed.toLocaleString("en")}` : "";
    if (isOther) lines.push(`${work.what}: ${Math.round((100 * work.done) / work.total)} %`);
    else if (video.indexed) lines.push(`indexing the video: ${video.indexed.toLocaleString("en")}${of} frames`);
    else lines.push("opening the video");
  }
  if (model?.state === "downloading") {
    const share = model.total ? `${Math.round((100 * model.done) / model.total)} %` : `${model.done >> 20} MB`;
    lines.push(`downloading the model: ${share}`);
  }
  document.querySelector("#notes").textContent = lines.join(" · ");
  const empty = document.querySelector("#empty");
  empty.hidden = Boolean(video?.indexed) && !video?.error;
  empty.textContent = video?.error ?? "Opening the video …";
}

on("video work model", notes);
on("video", () => {
  if (!state.video?.name) return;
  document.title = `${state.video.name} – Longtake`;
  document.querySelector("#name").textContent = state.video.name;
});
on("model", () => {
  const chip = document.querySelector("#model");
  const { state: now, name, device, error } = state.model;
  chip.dataset.state = now;
  chip.textContent = now === "ready" ? `${name} on ${device}` : now === "failed" ? "no model" : "loading the model …";
  chip.title = error ?? "";
  if (error) say(error, { stays: true });
});

document.body.dataset.ready = "yes";
follow((why) => {
  document.body.dataset.lost = "yes";
  say(why, { stays: true });
});
