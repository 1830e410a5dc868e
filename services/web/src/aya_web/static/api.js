// Asking the server, and for the token when it wants one.

import { found } from "./dom.js";

const KEY = "aya-token";
let asking = null;

/** What the server refused, in its own words. */
export class Refused extends Error {
  constructor(status, error) {
    super(error?.message ?? `the server answered ${status}`);
    this.status = status;
    this.hint = error?.hint ?? "";
  }
}

/** Return the answer to GET path. Throws Refused, and TypeError when nobody answers. */
export async function get(path, signal) {
  const timeout = AbortSignal.timeout(20000);
  const token = sessionStorage.getItem(KEY);
  const answer = await fetch(path, {
    headers: token ? { authorization: `Bearer ${token}` } : {},
    signal: signal ? AbortSignal.any([signal, timeout]) : timeout,
    cache: "no-store",
  });
  if (answer.status === 401) {
    await askForToken(token !== null);
    return get(path, signal);
  }
  const body = await answer.json().catch(() => ({}));
  if (!answer.ok) throw new Refused(answer.status, body.error);
  return body;
}

function askForToken(wasWrong) {
  asking ??= new Promise((resolve) => {
    const dialog = found("login");
    found("login-told").textContent = wasWrong ? "That was not the token." : "";
    dialog.showModal();
    dialog.oncancel = (event) => event.preventDefault();
    found("login-form").onsubmit = (event) => {
      event.preventDefault();
      // Of this tab alone, and until it is closed.
      sessionStorage.setItem(KEY, found("token").value.trim());
      found("token").value = "";
      dialog.close();
      asking = null;
      resolve();
    };
  });
  return asking;
}
