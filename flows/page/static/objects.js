// The list of objects: select, name, remove, add.

import { clearFrame } from "./prompts.js";
import { edit, redo, undo } from "./edits.js";
import { objectOf, on, promptOn, state, update } from "./state.js";

const list = document.querySelector("#objects");
const rows = new Map();

function row(object) {
  const item = document.createElement("li");
  item.className = "object";
  item.dataset.id = object.id;
  const pick = document.createElement("button");
  pick.type = "button";
  pick.className = "pick";
  const swatch = document.createElement("span");
  swatch.className = "swatch";
  const number = document.createElement("span");
  number.className = "id";
  pick.append(swatch, number);
  pick.addEventListener("click", () => update({ selected: object.id }));
  const label = document.createElement("input");
  label.type = "text";
  label.maxLength = 200;
  label.placeholder = "no label";
  label.setAttribute("aria-label", `Label of object ${object.id}`);
  label.addEventListener("focus", () => update({ selected: object.id }));
  const rename = () => {
    const now = objectOf(object.id);
    if (now && label.value.trim() !== now.label) {
      edit({ kind: "rename", id: object.id, label: label.value.trim() || null });
    }
  };
  label.addEventListener("change", rename);
  label.addEventListener("keydown", (event) => {
    if (event.key === "Enter") label.blur();
    if (event.key === "Escape") {
      label.value = objectOf(object.id)?.label ?? "";
      label.blur();
    }
  });
  const count = document.createElement("span");
  count.className = "count";
  const remove = document.createElement("button");
  remove.type = "button";
  remove.className = "remove";
  remove.textContent = "✕";
  remove.title = "Remove this object (Delete)";
  remove.setAttribute("aria-label", `Remove object ${object.id}`);
  remove.addEventListener("click", () => edit({ kind: "remove_object", id: object.id }));
  item.append(pick, label, count, remove);
  return { item, pick, swatch, number, label, count };
}

function draw() {
  const objects = state.project?.objects ?? [];
  const ids = new Set(objects.map((one) => one.id));
  for (const [id, made] of rows) {
    if (!ids.has(id)) {
      made.item.remove();
      rows.delete(id);
    }
  }
  objects.forEach((object, place) => {
    if (!rows.has(object.id)) rows.set(object.id, row(object));
    const made = rows.get(object.id);
    if (list.children[place] !== made.item) list.insertBefore(made.item, list.children[place] ?? null);
    const isSelected = object.id === state.selected;
    made.item.classList.toggle("selected", isSelected);
    made.pick.setAttribute("aria-pressed", String(isSelected));
    made.pick.setAttribute("aria-label", `Select object ${object.id}`);
    made.swatch.style.background = object.colour;
    made.number.textContent = object.id;
    if (document.activeElement !== made.label) made.label.value = object.label;
    const frames = object.prompts.length;
    const here = promptOn(object, state.frame);
    made.count.textContent = frames ? `${frames} ${frames === 1 ? "frame" : "frames"}` : "no prompts";
    made.count.title = here && !here.ready ? "Only clicks off it on this frame: click on it, too" : "";
    made.count.classList.toggle("warn", !frames || Boolean(here && !here.ready));
  });
  if (state.selected !== null && !ids.has(state.selected)) update({ selected: null });
  document.querySelector("#objects-hint").hidden = objects.length > 0;
  document.querySelector("#undo").disabled = !state.project?.canUndo;
  document.querySelector("#redo").disabled = !state.project?.canRedo;
  document.querySelector("#clear").disabled = !promptOn(objectOf(state.selected), state.frame);
  document.querySelector("#saved").textContent = state.project?.revision ? "saved" : "";
  document.querySelector("#saved").title = state.project?.file ?? "";
  document.body.dataset.revision = state.project?.revision ?? "";
}

export const addObject = () => edit({ kind: "add_object" });
export function removeSelected() {
  if (state.selected !== null) edit({ kind: "remove_object", id: state.selected });
}

document.querySelector("#add").addEventListener("click", addObject);
document.querySelector("#undo").addEventListener("click", undo);
document.querySelector("#redo").addEventListener("click", redo);
document.querySelector("#clear").addEventListener("click", clearFrame);
on("project selected frame", draw);
