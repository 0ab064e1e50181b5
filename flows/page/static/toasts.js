// Lines that say what went wrong, and go away.

export function say(text, { stays = false } = {}) {
  const line = document.createElement("div");
  line.className = "toast";
  line.textContent = text;
  document.querySelector("#toasts").replaceChildren(line);
  if (!stays) setTimeout(() => line.remove(), 6000);
}
