// Everything that the page asks its server for. The token is the end of the page's address.

const token = location.hash.slice(1);

export class Refused extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

export async function ask(path, { body, signal } = {}) {
  const headers = { "x-longtake-token": token };
  const options = { headers, signal };
  if (body !== undefined) {
    options.method = "POST";
    options.body = JSON.stringify(body);
    headers["content-type"] = "application/json";
  }
  const answer = await fetch(`/api/${path}`, options);
  if (!answer.ok) throw new Refused(answer.status, await reason(answer));
  return answer;
}

export async function get(path, options = {}) {
  return (await ask(path, options)).json();
}

export async function post(path, body = {}, options = {}) {
  return (await ask(path, { ...options, body })).json();
}

async function reason(answer) {
  try {
    const said = await answer.json();
    return said.error ?? said.detail?.[0]?.msg ?? `error ${answer.status}`;
  } catch {
    return `error ${answer.status}`;
  }
}
