// Asks the server. The token, if there is one, is kept until the tab is closed.

const KEY = "driftline-token";

export class Failed extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

export function token() {
  return sessionStorage.getItem(KEY);
}

export function setToken(value) {
  if (value) sessionStorage.setItem(KEY, value);
  else sessionStorage.removeItem(KEY);
}

async function ask(path, options = {}) {
  const headers = { ...options.headers, ...(token() ? { authorization: `Bearer ${token()}` } : {}) };
  let answer;
  try {
    answer = await fetch(path, { ...options, headers });
  } catch {
    throw new Failed(0, "The server does not answer; this page tries again.");
  }
  const body = await answer.json().catch(() => ({}));
  if (!answer.ok) throw new Failed(answer.status, body.error ?? `the server answered ${answer.status}`);
  return body;
}

export const get = (path) => ask(path);

export function post(path, body) {
  return ask(path, { method: "POST", body: JSON.stringify(body), headers: { "content-type": "application/json" } });
}

export const at = (pipeline, path) => `/v1/${encodeURIComponent(pipeline)}/${path}`;
