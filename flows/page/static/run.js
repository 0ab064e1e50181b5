// The panel that starts, stops and follows the run.

import { get, post } from "./api.js";
import { on, state, update } from "./state.js";
import { say } from "./toasts.js";

const panel = document.createElement("section");
panel.className = "panel";
panel.id = "run-panel";
panel.setAttribute("aria-labelledby", "run-title");
panel.innerHTML = `
  <h2 id="run-title">Run</h2>
  <p id="run-line" role="status"></p>
  <progress id="run-progress" max="1" value="0" aria-label="Chunks that are tracked" hidden></progress>
  <p id="run-plan" class="hint" hidden></p>
  <div class="row">
    <button id="run-start" type="button" title="Track all objects through the video (G)">Run</button>
    <button id="run-stop" type="button" title="Save where it is, and stop (G)" hidden>Stop</button>
    <label id="run-where" hidden>on <select id="run-place">
      <option value="start">this machine</option>
      <option value="deploy">Prefect's workers</option>
    </select></label>
  </div>
  <details id="run-command">
    <summary>The same as a command</summary>
    <code id="command" tabindex="0"></code>
    <button id="copy" type="button">Copy</button>
  </details>`;
document.querySelector("#objects-panel").after(panel);

const the = (id) => panel.querySelector(`#${id}`);
const start = the("run-start");
const stop = the("run-stop");
let asked = false;

async function tell(what) {
  if (asked) return;
  asked = true;
  show();
  try {
    update({ run: await post("run", { do: what }) });
  } catch (error) {
    say(error.message);
  } finally {
    asked = false;
    show();
  }
}

function words(run) {
  if (run.failed) return "The run has failed.";
  const { chunks } = run;
  const parts = chunks ? `${chunks.done} of ${chunks.total} ${chunks.total === 1 ? "chunk" : "chunks"}` : "";
  switch (run.state) {
    case "running":
      return parts ? `Tracking: ${parts} done` : run.deployed ? run.line : "Starting …";
    case "stopped":
      return `Stopped: ${parts} done. It goes on from there.`;
    case "done":
      return isChanged() ? "The prompts have changed since." : "Done.";
    case "unknown":
      return run.line;
    default:
      return run.deployed && run.line ? run.line : "Nothing is tracked yet.";
  }
}

// Whether prompts have changed since the result was made.
function isChanged() {
  return Boolean(state.redo?.changed);
}

let asking = false;

// What a run would track again is known once a result is there; it is asked for after each edit.
async function askRedo() {
  if (state.run?.state !== "done" || !state.project || !state.video?.finished) {
    if (state.redo) update({ redo: null });
    return;
  }
  if (asking) return;
  asking = true;
  try {
    for (let revision = -1; revision !== state.project.revision; ) {
      ({ revision } = state.project);
      update({ redo: await get("redo") });
    }
  } catch (error) {
    say(error.message);
  } finally {
    asking = false;
  }
}

function show() {
  const run = state.run;
  if (!run) return;
  const said = words(run);
  const more = run.state === "running" ? run.line : run.failed || plan();
  the("run-line").textContent = said;
  the("run-plan").textContent = more;
  the("run-plan").hidden = !more || more === said;
  const bar = the("run-progress");
  bar.hidden = run.state !== "running" && run.state !== "stopped";
  bar.max = run.chunks?.total ?? 1;
  bar.value = run.chunks?.done ?? 0;
  if (run.state === "running" && !run.chunks) bar.removeAttribute("value");
  start.hidden = run.running;
  stop.hidden = !run.running;
  start.textContent = { stopped: "Continue", done: "Run again" }[run.state] ?? "Run";
  const ready = state.project?.objects.some((one) => one.prompts.some((prompt) => prompt.ready));
  start.disabled = asked || !ready;
  stop.disabled = asked || run.stopping;
  stop.textContent = run.stopping ? "Stopping …" : "Stop";
  the("run-where").hidden = !run.can_deploy || run.running;
  the("command").textContent = run.command;
  document.body.dataset.run = run.state;
  document.body.dataset.chunks = run.chunks?.done ?? "";
}

function plan() {
  return isChanged() ? `A new run ${state.redo.text}.` : "";
}

export function toggleRun() {
  if (state.run?.running) {
    if (!stop.disabled) tell("stop");
  } else if (!start.disabled) tell(the("run-where").hidden ? "start" : the("run-place").value);
}

start.addEventListener("click", toggleRun);
stop.addEventListener("click", toggleRun);
the("copy").addEventListener("click", async () => {
  const code = the("command");
  try {
    await navigator.clipboard.writeText(code.textContent);
    the("copy").textContent = "Copied";
    setTimeout(() => (the("copy").textContent = "Copy"), 1500);
  } catch {
    // Where the browser does not let us, the person's own keys copy what is selected.
    getSelection().selectAllChildren(code);
  }
});

// A command may have tracked meanwhile.
document.addEventListener("visibilitychange", async () => {
  if (document.visibilityState !== "visible" || state.run?.running) return;
  await get("run").catch(() => {}); // the news bring what has changed
});

on("run project redo", show);
on("run project video", askRedo);
