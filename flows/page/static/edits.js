// Changes of objects and prompts: one after the other, each of the revision that the last one left.

import { post } from "./api.js";
import { state, update } from "./state.js";
import { say } from "./toasts.js";

let last = Promise.resolve();
const additions = [];

function queue(path, body) {
  const made = last.then(async () => {
    const began = performance.now();
    try {
      const answer = await post(path, { ...body(), revision: state.project.revision });
      if (answer.project.revision >= state.project.revision) update({ project: answer.project });
      if (state.project.objects.some(({ id }) => id === answer.object)) update({ selected: answer.object });
      document.body.dataset.edited = Math.round(performance.now() - began);
      return answer;
    } catch (error) {
      // Another window was faster: the news bring what it did.
      say(error.status === 409 ? "Changed in another window just now. Look, and try again." : error.message);
      return null;
    }
  });
  last = made;
  return made;
}

// Something that is to be said with edits: gets an edit, and gives what to ask for in its place.
export function addToEdits(change) {
  additions.push(change);
}

// Gives the server's answer, {object, project}; null if it was refused, which has been said.
const asked = (what) => ({ edit: additions.reduce((found, change) => change(found), what) });

export const edit = (what) => queue("edit", () => asked(what));

// The same of the selected object. Where none is, of the one that an edit before it makes, whose
// number is not known yet; and else of a new one.
export function editSelected(what) {
  const selected = state.selected;
  return queue("edit", () => asked({ ...what, id: selected ?? state.selected }));
}

export const undo = () => queue("undo", () => ({}));
export const redo = () => queue("redo", () => ({}));
