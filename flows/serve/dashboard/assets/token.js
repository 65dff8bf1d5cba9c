// The dialog that asks for a token.

import { setToken } from "./api.js";

const dialog = document.getElementById("token");
let isDeclined = false;

export function askToken(why) {
  if (dialog.open) return;
  if (why) document.getElementById("token-why").textContent = why;
  dialog.returnValue = "";
  dialog.showModal();
}

// Asks unless the dialog was closed without a token before.
export function askOnce(why) {
  if (!isDeclined) askToken(why);
}

export function onToken(changed) {
  dialog.addEventListener("close", () => {
    const field = document.getElementById("token-value");
    isDeclined = dialog.returnValue !== "use";
    if (dialog.returnValue === "use") setToken(field.value.trim());
    if (dialog.returnValue === "forget") setToken("");
    field.value = "";
    if (dialog.returnValue === "use" || dialog.returnValue === "forget") changed();
  });
}
